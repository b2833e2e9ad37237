"""From a model to a trained one in one call: directory, optimizer, loop."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import optax
from jax.sharding import Mesh

from attnjax.training.alone import alone_in
from attnjax.training.checkpoint import Checkpoints
from attnjax.training.feed import Feed
from attnjax.training.loop import train as run_loop
from attnjax.training.losses import LossFn
from attnjax.training.mesh import make_mesh
from attnjax.training.metrics import Metrics
from attnjax.training.optimizer import OptimizerConfig
from attnjax.training.optimizer import make as make_optimizer
from attnjax.training.partition import Rules, gathered
from attnjax.training.processes import require_agreement, require_joined
from attnjax.training.state import TrainState, init_on
from attnjax.training.state import init as init_state
from attnjax.training.step import Step, jit_step, make_step
from attnjax.training.train_config import TrainConfig, without_machines
from attnjax.training.workdir import claim
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
    identity: what decides how the run trains, nested values that JSON can
      hold: a directory of another identity is refused.
    optimizer: AdamW and its schedule.
    train: how long, how often, the seed of the keys, and the mesh.
    evaluate: parameters -> scalars with a `loss`; None evaluates nothing.
    mesh: devices in another order than that of `make_mesh(train.mesh)`, which
      None makes.
    rules: which part of each array a device of the mesh has; see
      `shardings`.

  Returns:
    The trained parameters and the records of every evaluation. On a mesh the
    parameters are whole on one device of every process, unless
    `train.mesh.gather` says no.

  Raises:
    ValueError: the directory belongs to another run, or another process trains
      in it; the batch does not suit the loss, or the mesh does not suit the
      devices, the model or the batch; nothing is written then.
    FloatingPointError: a loss is not finite.
    SystemExit: with code 75, after a request to stop.

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
  require_joined(train.processes)
  require_agreement(
    "fit",
    {"workdir": str(workdir), "experiment": experiment}
    | {"identity": without_machines(identity)}
    | {"mesh": dataclasses.asdict(train.mesh)},
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
  # Only now is the run known to be sound: nothing was written before.
  path = claim(workdir, experiment, without_machines(identity))
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
