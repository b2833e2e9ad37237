"""From a model to a trained one in one call: directory, optimizer, loop."""

import dataclasses
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import optax
from jax.sharding import Mesh

from attnjax.config import check_local, decisive
from attnjax.training.alone import alone_in
from attnjax.training.checkpoint import Checkpoints
from attnjax.training.evaluation import tried
from attnjax.training.feed import Feed
from attnjax.training.loop import train as run_loop
from attnjax.training.losses import LossFn
from attnjax.training.mesh import MeshConfig, make_mesh
from attnjax.training.metrics import Metrics
from attnjax.training.optimizer import OptimizerConfig
from attnjax.training.optimizer import make as make_optimizer
from attnjax.training.partition import Rules, gathered
from attnjax.training.processes import (
  from_primary,
  require_agreement,
  require_joined,
)
from attnjax.training.state import TrainState, init_on
from attnjax.training.state import init as init_state
from attnjax.training.step import Step, jit_step, make_step
from attnjax.training.train_config import TrainConfig, what_decides
from attnjax.training.workdir import claim
from attnjax.training.workdir_probe import probe_workdir
from attnjax.typing import PyTree


class Fitted(NamedTuple):
  """A trained model and how it came to be.

  Args:
    params: after the last step.
    records: of every evaluation, in order: step, split and metrics.

  >>> Fitted(params=3.0, records=[{"step": 1, "loss": 0.5}]).records[-1]["loss"]
  0.5
  """

  params: PyTree
  records: list[dict[str, Any]]


def fit(
  model: PyTree,
  loss: LossFn,
  batches: Callable[[int], Any],
  *,
  workdir: str | Path,
  experiment: str,
  identity: Mapping[str, Any],
  optimizer: OptimizerConfig,
  train: TrainConfig,
  evaluate: Callable[[Any], Mapping[str, float]] | None = None,
  mesh: Mesh | None = None,
  rules: Rules | None = None,
  honoured: Collection[str] = (),
) -> Fitted:
  """Trains a model in a directory of its own, or goes on training it there.

  Called again with the same directory it goes on from the newest whole
  checkpoint, bit for bit, and returns at once where the run is finished. It may
  go on on another mesh or on another number of processes: the batches are the
  same, and so are the losses to float tolerance.

  Args:
    model: parameters to start from, a pytree such as a Flax NNX module. It is
      consumed: use the one that is returned.
    loss: `(params, batch, key) -> (total, weight[, extra])` as for `make_step`.
    batches: updates done before -> batch, a pure function.
    workdir: of this run alone; made if need be.
    experiment: its name.
    identity: what decides how the run trains beside `optimizer` and `train`,
      such as the sizes of the model and a digest of the data: nested values
      that JSON can hold. A directory of another identity, optimizer, number of
      steps or seed is refused. What changes no number may change, see
      `what_decides`.
    optimizer: AdamW and its schedule.
    train: how long, how often, the seed of the keys, and the mesh.
    evaluate: parameters -> scalars with a `loss`; None evaluates nothing. It
      is tried before a new run, unless it has the `names` of what it returns.
    mesh: devices in another order than that of `make_mesh(train.mesh)`, which
      None makes.
    rules: which part of each array a device of the mesh has; see
      `shardings`.
    honoured: those of "attention" and "layout" that the loss reads from
      `train.mesh`. `fit` knows no attention: chosen by the config and read by
      nobody they would be dropped, and so they are refused.

  Returns:
    The trained parameters and the records of every evaluation. On a mesh the
    parameters are whole on one device of every process, unless
    `train.mesh.gather` says no.

  Raises:
    ValueError: the directory belongs to another run, cannot do what a run
      needs, or another process trains in it; `train.mesh` asks for an
      attention or a layout that is not honoured; the batch does not suit the
      loss, or the mesh does not suit the devices, the model or the batch;
      nothing is written then.
    FloatingPointError: a loss is not finite.
    SystemExit: with code 75, after a request to stop.

  >>> from attnjax.training.optimizer import OptimizerConfig
  >>> from attnjax.training.train_config import TrainConfig
  >>> import tempfile
  >>> import jax.numpy as jnp
  >>> def loss(params, batch, key):
  ...   return ((params["kernel"] - batch) ** 2).sum(), jnp.float32(1)
  >>> fitted = fit(
  ...   {"kernel": jnp.float32(0)}, loss, lambda step: jnp.float32(3),
  ...   workdir=tempfile.mkdtemp(), experiment="mean", identity={},
  ...   optimizer=OptimizerConfig(0.3, warmup_steps=0, weight_decay=0.0),
  ...   train=TrainConfig(steps=60))
  >>> abs(float(fitted.params["kernel"]) - 3) < 0.1
  True
  """
  _refuse_unread(train, honoured)
  check_local(workdir, "workdir")
  require_joined(train.processes)
  decides = _identity(identity, optimizer, train)
  require_agreement(
    "fit",
    {"workdir": str(workdir), "experiment": experiment}
    | {"identity": decides, "mesh": dataclasses.asdict(train.mesh)},
  )
  transform = make_optimizer(optimizer, train.steps)
  step = make_step(
    loss,
    transform,
    microbatches=train.microbatches,
    compute_dtype=train.compute_dtype,
    seed=train.seed,
  )
  mesh = make_mesh(train.mesh) if mesh is None else mesh
  ready = _placed(model, transform, step, batches, mesh, rules)
  jax.eval_shape(step, ready.state, ready.batches(0))
  new = lambda: not (Path(workdir) / "metrics.jsonl").exists()
  if evaluate is not None and from_primary(new):
    tried(evaluate, ready.state.params)
  # Only now is the run known to be sound: nothing was written before.
  path = claim(workdir, experiment, decides)
  probe_workdir(path)
  with (
    alone_in(path),
    Checkpoints(path / "checkpoints", train.checkpoint) as checkpoints,
    Metrics(path) as metrics,
  ):
    state = run_loop(
      ready.state,
      step=ready.step,
      batch_at=ready.batches,
      checkpoints=checkpoints,
      metrics=metrics,
      config=train,
      evaluate=evaluate,
      place=ready.place,
    )
    params = gathered(state.params) if train.mesh.gather else state.params
    return Fitted(params, metrics.evaluations())


def _refuse_unread(train: TrainConfig, honoured: Collection[str]) -> None:
  """Raises where the mesh asks for what only a loss could do, and none does."""
  for name in ("attention", "layout"):
    chosen, usual = getattr(train.mesh, name), getattr(MeshConfig(), name)
    if chosen != usual and name not in honoured:
      raise ValueError(
        f"train.mesh.{name} must be {usual!r} unless the loss reads it, got"
        f" {chosen!r}; give the model an attention of attnjax.parallel, and say"
        f" honoured=({name!r},)"
      )


def _identity(
  identity: Mapping[str, Any], optimizer: OptimizerConfig, train: TrainConfig
) -> dict[str, Any]:
  """All that decides the numbers of a run, as nested values.

  Raises:
    ValueError: the identity has something else under the names of these two.
  """
  decides = what_decides(identity)
  for name, config in (("optimizer", optimizer), ("train", train)):
    given = decides.get(name, {})
    if not isinstance(given, Mapping):
      raise ValueError(
        f"identity[{name!r}] must be the leaves of the config of that name, got"
        f" {given!r}; give it another name"
      )
    # What `fit` was called with is the truth, whatever the identity says.
    decides[name] = {**given, **decisive(config)}
  return decides


class _Ready(NamedTuple):
  """What the loop runs on: one device, or a mesh."""

  state: TrainState
  step: Callable[..., Any]
  batches: Callable[[int], Any]
  place: Callable[[Any], Any]


def _placed(
  model: PyTree,
  transform: optax.GradientTransformation,
  step: Step,
  batches: Callable[[int], Any],
  mesh: Mesh | None,
  rules: Rules | None,
) -> _Ready:
  """State, step and batches on one device, or on a mesh."""
  if mesh is None:
    state = init_state(model, transform)
    return _Ready(state, jit_step(step), batches, jax.device_put)
  state, places = init_on(mesh, model, transform, rules)
  # The batches of a feed are on their devices.
  feed = Feed(batches, mesh, step.microbatches)
  return _Ready(state, jit_step(step, places), feed, lambda batch: batch)
