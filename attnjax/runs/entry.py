"""Entry point of an experiment, for one process or several."""

import contextlib
import dataclasses
import functools
import operator
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from absl import flags

from attnjax import config as configs
from attnjax import training
from attnjax.runs.allocation import keep_freed_memory
from attnjax.training.processes import is_primary
from attnjax.viz import Page

__all__ = ["processes_of", "run"]

# absl ascribes flags to the module that defines them, and this one is between:
# else `--help` of an experiment would list none.
flags.disclaim_key_flags()


def run(
  main: Callable[[Any, Path], None],
  presets: Mapping[str, Callable[[], Any]],
  *,
  experiment: str,
  view: Callable[[Any, Path], Page] | None = None,
) -> None:
  """Runs the `main` of an experiment with the config of its flags.

  As `attnjax.config.run`, in the number of processes that flags or a launcher
  set. All processes need the same flags. The directory of another experiment is
  refused.

  Args:
    main: takes the config, which has a `TrainConfig` or several, and the
      directory.
    presets: as for `configs.run`.
    experiment: its name.
    view: trains, or finds what was trained, and makes a page of its attention.
      It gives the experiment a flag `--view`, with which it runs in place of
      `main`; the page is `attention.html` of the directory.

  Raises:
    SystemExit: at the end, or for wrong flags, with the reason.

  >>> run(print, {"base": dict}, experiment="mine")
  Traceback (most recent call last):
  ValueError: default='tiny' is not a preset; there are base
  """
  keep_freed_memory()
  if "profile" not in flags.FLAGS:  # defined once a process
    flags.DEFINE_integer(
      "profile",
      0,
      "steps of each training to trace by jax.profiler, into <workdir>/profile",
      lower_bound=0,
    )
  if view is not None:
    flags.DEFINE_boolean(
      "view", False, "write attention.html, a page to look at, and no report"
    )
  configs.run(
    _AgreeingMain(main, experiment, view),
    presets,
    experiment=experiment,
    around=lambda config: training.joined(processes_of(config)),
  )


def processes_of(config: Any) -> training.ProcessesConfig:
  """Finds the `ProcessesConfig` of an experiment's config.

  Args:
    config: of an experiment; some of its parts, at any depth, have `processes`.

  Raises:
    ValueError: two parts have different settings of processes.

  >>> import dataclasses
  >>> from attnjax.runs.config import TrainConfig
  >>> from attnjax.training import ProcessesConfig
  >>> @dataclasses.dataclass(frozen=True)
  ... class Config:
  ...   train: TrainConfig = TrainConfig(processes=ProcessesConfig(count=2))
  >>> processes_of(Config()).count
  2
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


def profiled(config: Any, steps: int) -> Any:
  """A config all of whose trainings trace some of their steps.

  Args:
    config: of an experiment.
    steps: how many.

  Raises:
    ValueError: the experiment trains nothing by `fit`.

  >>> import dataclasses
  >>> from attnjax.runs.config import TrainConfig
  >>> @dataclasses.dataclass(frozen=True)
  ... class Config:
  ...   train: TrainConfig = TrainConfig()
  >>> profiled(Config(), 5).train.profile_steps
  5
  """
  if not any(True for _ in _parts(config, training.LoopConfig)):
    raise ValueError(
      "profile: this experiment has no training of its own to trace; leave the"
      " flag out"
    )
  return _with_steps(config, steps)


def _with_steps(config: Any, steps: int) -> Any:
  """The config with `profile_steps` in each loop, at any depth."""
  if isinstance(config, training.LoopConfig):
    return dataclasses.replace(config, profile_steps=steps)
  parts = {x.name: getattr(config, x.name) for x in dataclasses.fields(config)}
  changed = {
    name: _with_steps(part, steps)
    for name, part in parts.items()
    if dataclasses.is_dataclass(part)
  }
  return dataclasses.replace(config, **changed)


def _parts(config: Any, kind: type, path: str = "") -> Iterator[tuple]:
  """(path, part) of each nested config of a type, at any depth."""
  for field in dataclasses.fields(config):
    part, name = getattr(config, field.name), f"{path}{field.name}"
    if isinstance(part, kind):
      yield name, part
    elif dataclasses.is_dataclass(part):
      yield from _parts(part, kind, f"{name}.")


@dataclasses.dataclass(frozen=True)
class _AgreeingMain:
  """`main`, called once all processes agree on config and directory."""

  main: Callable[[Any, Path], None]
  experiment: str
  view: Callable[[Any, Path], Page] | None = None

  def __call__(self, config: Any, workdir: Path) -> None:
    """Compares the config, without how each process joins, and runs `main`."""
    # Not there where `main` is called by other code than `run`.
    if "profile" in flags.FLAGS and flags.FLAGS.profile:
      config = profiled(config, flags.FLAGS.profile)
    asked = configs.to_dict(config)
    for path, _ in _parts(config, training.ProcessesConfig):
      *above, last = path.split(".")
      # Index and coordinator differ between processes by design.
      del functools.reduce(operator.getitem, above, asked)[last]

    training.require_agreement("flags", {"config": asked, "to": str(workdir)})
    # Process 0 looks for all, so that all raise or none.
    training.from_primary(lambda: _check_owner(workdir, self.experiment))

    try:
      if self.view is None or not flags.FLAGS.view:
        self.main(config, workdir)
      else:
        made = self.view(config, workdir)
        if is_primary():
          print(made.save(workdir / "attention.html"))
    finally:
      if is_primary():
        _write_owner(workdir, self.experiment)


def _write_owner(workdir: Path, experiment: str) -> None:
  """Writes the experiment's name into a directory, if the run made one."""
  path = workdir / "experiment.txt"
  # Suppressed, for a disk error may be what ends the run, and is raised then.
  with contextlib.suppress(OSError):
    if workdir.exists() and not path.exists():
      # Written at the end: a run that wrote nothing owns no directory.
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
