"""The runs of an experiment: on one device, on a mesh, in several processes."""

import contextlib
import dataclasses
import functools
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from absl import flags
from jax.sharding import Mesh

from attnjax import config as configs
from attnjax import parallel, training
from attnjax.models import partition_rules
from attnjax.training.processes import is_primary
from experiments.sequence import loss_on

__all__ = [
  "fit",
  "fit_run",
  "make_model",
  "mesh_of",
  "processes_of",
  "run",
  "run_folder",
]

# Else `--help` of an experiment would list no flag: absl takes them for those
# of the module that defines them, and this one stands between.
flags.disclaim_key_flags()

# Which runs there are, and what is asked of them afterwards: no run trains
# another way for it, so that one may be added to others that are done.
_NOT_OF_A_RUN = ("variants", "seeds", "test")


def run(
  main: Callable[[Any, Path], None],
  presets: Mapping[str, Callable[[], Any]],
  *,
  experiment: str,
) -> None:
  """`configs.run`, in as many processes as flags or a launcher say.

  Args:
    main: takes the config, which has a `TrainConfig` or several, and the
      directory.
    presets: as for `configs.run`.
    experiment: its name.
  """
  configs.run(
    _Agreed(main, experiment),
    presets,
    experiment=experiment,
    around=lambda config: training.joined(processes_of(config)),
  )


def processes_of(config: Any) -> training.ProcessesConfig:
  """How the processes of a run join: every part of it is trained by them all.

  Args:
    config: of an experiment; some of its parts, at any depth, have `processes`.

  Raises:
    ValueError: two parts ask for other processes.
  """
  found = dict(_parts(config, training.ProcessesConfig))
  if not found:
    return training.ProcessesConfig()
  (first, asked), *others = found.items()
  for name, other in others:
    if other != asked:
      raise ValueError(
        f"{name} must be as {first}, for one set of processes trains both, got"
        f" {other} and {asked}"
      )
  return asked


def _parts(config: Any, kind: type, path: str = "") -> Iterator[tuple]:
  """(path, part) of each part of a config that is of a kind, at any depth."""
  for field in dataclasses.fields(config):
    part, name = getattr(config, field.name), f"{path}{field.name}"
    if isinstance(part, kind):
      yield name, part
    elif dataclasses.is_dataclass(part):
      yield from _parts(part, kind, f"{name}.")


@dataclasses.dataclass(frozen=True)
class _Agreed:
  """`main`, once all processes are known to have been asked for the same."""

  main: Callable[[Any, Path], None]
  experiment: str

  def __call__(self, config: Any, workdir: Path) -> None:
    """Compares everything but how each process joins the others."""
    asked = configs.to_dict(config)
    for path, _ in _parts(config, training.ProcessesConfig):
      *above, last = path.split(".")
      del functools.reduce(operator.getitem, above, asked)[last]
    training.require_agreement("flags", {"config": asked, "to": str(workdir)})
    training.from_primary(lambda: _check_owner(workdir, self.experiment))
    try:
      self.main(config, workdir)
    finally:
      if is_primary():
        _own(workdir, self.experiment)


def _own(workdir: Path, experiment: str) -> None:
  """Notes whose a directory is, if anything was written there at all."""
  path = workdir / "experiment.txt"
  # What ends the run may be that nothing can be written: then that is said.
  with contextlib.suppress(OSError):
    if workdir.exists() and not path.exists():
      path.write_text(experiment + "\n", encoding="utf-8")


def _check_owner(workdir: Path, experiment: str) -> None:
  """Refuses the directory of another experiment, before anything is written.

  Raises:
    ValueError: its results would be written over.
  """
  path = workdir / "experiment.txt"
  if not path.exists():
    return
  found = path.read_text(encoding="utf-8").strip()
  if found != experiment:
    raise ValueError(
      f"workdir: {workdir} holds what experiments.{found} wrote, got"
      f" {experiment}; name another --workdir"
    )


def mesh_of(train: training.TrainConfig) -> Mesh | None:
  """The mesh of a run, its chips in the order in which a ring is wired.

  Args:
    train: has the sizes of the axes.

  Returns:
    None where there is one device.
  """
  mesh = training.make_mesh(train.mesh)
  return None if mesh is None else parallel.make_mesh(**mesh.shape)


def make_model(make: Callable[[], Any], train: training.TrainConfig) -> Any:
  """A new model, each part of it made on the devices that have it.

  Args:
    make: makes the model; compiled.
    train: has the mesh.
  """
  mesh = mesh_of(train)
  rules = None if mesh is None else partition_rules(jax.eval_shape(make))
  return training.initialise(make, mesh=mesh, rules=rules)


def fit(
  model: Any,
  loss: Callable,
  batches: Callable[[int], Any],
  *,
  train: training.TrainConfig,
  evaluate: Any = None,
  **keywords: Any,
) -> training.Fitted:
  """`training.fit` of a model that a mesh shares out as its table says.

  Args:
    model: parameters to start from.
    loss: as for `training.make_step`.
    batches: of a step.
    train: as for `training.fit`; has the mesh.
    evaluate: None, or a frozen dataclass whose `evaluate` is what
      `training.make_evaluate` made.
    **keywords: as for `training.fit`.
  """
  mesh = mesh_of(train)
  if mesh is not None:
    loss = loss_on(mesh, train.mesh, model, loss)
    if evaluate is not None:
      inner = dataclasses.replace(evaluate.evaluate, loss_fn=loss)
      evaluate = dataclasses.replace(evaluate, evaluate=inner)
  return training.fit(
    model,
    loss,
    batches,
    train=train,
    evaluate=evaluate,
    mesh=mesh,
    rules=partition_rules(model),
    honoured=("attention", "layout"),  # by `loss_on`, or refused there
    **keywords,
  )


def run_folder(workdir: Path, variant: str, seed: int) -> Path:
  """Where one of the runs of an experiment is kept.

  >>> from pathlib import Path
  >>> run_folder(Path("runs"), "window + persistent", 1).as_posix()
  'runs/window_+_persistent/seed1'
  """
  return workdir / variant.replace(", ", "_").replace(" ", "_") / f"seed{seed}"


def fit_run(
  config: Any,
  model: Any,
  loss: Callable,
  batches: Callable[[int], Any],
  heldout: Sequence,
  *,
  experiment: str,
  variant: str,
  seed: int,
  workdir: Path,
  data: Mapping[str, Any] | None = None,
) -> training.Fitted:
  """Trains a variant in a directory of its own, `workdir/<variant>/seed<n>`.

  Args:
    config: of the experiment; has `optimizer` and `train`.
    model: parameters to start from.
    loss: as for `training.make_step`.
    batches: of a step.
    heldout: batches to evaluate on.
    experiment: its name.
    variant: what is trained; words may have spaces between them.
    seed: of the keys of the steps, counted from `train.seed`.
    workdir: of the experiment.
    data: what else decides the run, such as a digest of its text, or the model
      that a variant makes of the config.
  """
  folder = run_folder(workdir, variant, seed)
  decisive = {
    name: value
    for name, value in configs.decisive(config).items()
    if name not in _NOT_OF_A_RUN
  }
  return fit(
    model,
    loss,
    batches,
    workdir=folder,
    experiment=experiment,
    identity=decisive
    | {"run": folder.relative_to(workdir).as_posix()}
    | dict(data or {}),
    optimizer=config.optimizer,
    train=dataclasses.replace(config.train, seed=config.train.seed + seed),
    evaluate=training.make_evaluate(loss).on(heldout),
  )
