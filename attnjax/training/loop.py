"""The training loop: restore, run, evaluate, save, and stop when asked to.

It never lets the device wait for Python: step `n` is dispatched, the next
batch is made while the device works, and only then are the metrics of step
`n - 1` read. A run that was killed and started again goes on bit for bit.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax

from attnjax.training.checkpoint import Checkpoints
from attnjax.training.interruption import Interruption
from attnjax.training.metrics import Metrics
from attnjax.training.processes import watched
from attnjax.training.progress import Progress
from attnjax.training.run import Run
from attnjax.training.state import TrainState
from attnjax.training.train_config import TrainConfig


def train(
  state: TrainState,
  *,
  step: Callable[..., Any],
  batch_at: Callable[[int], Any],
  checkpoints: Checkpoints,
  metrics: Metrics,
  config: TrainConfig,
  evaluate: Callable[[Any], Mapping[str, float]] | None = None,
  place: Callable[[Any], Any] = jax.device_put,
) -> TrainState:
  """Trains until `config.steps`, from the newest whole checkpoint on.

  After a kill at any moment the same call goes on, and `metrics.jsonl` ends
  up equal to that of an unbroken run, floats bit for bit. SIGTERM, SIGHUP and
  the first SIGINT finish the step, save it and exit with code 75; the second
  SIGINT kills at once. That nobody reads the progress lines ends nothing.

  Args:
    state: where a new run starts; its shapes, dtypes and shardings are those
      of a restored one. It is consumed: use the state that is returned.
    step: `(state, batch) -> (state, metrics)`, from `jit_step`. The metrics
      hold at least `loss` and `weight`.
    batch_at: updates done before -> the batch of the next one. A pure
      function of that number, or resuming is not exact.
    checkpoints: where states are saved: every `checkpoint.every_steps`, after
      each evaluation that is the best so far, and at the end.
    metrics: where scalars are recorded; `train` calls its `resume`.
    config: how long and how often.
    evaluate: parameters -> scalars with a `loss`, lower being better, that
      are recorded and choose the best checkpoint. None: no evaluation.
    place: puts a batch on its devices, called while the device works.

  Returns:
    The state after the last step.

  Raises:
    FloatingPointError: a loss or a norm is not finite; names the step, and
      the checkpoint to go back to. Such a state is never saved.
    SystemExit: with code 75, after a request to stop.

  >>> from attnjax.training.checkpoint import Checkpoints
  >>> from attnjax.training.metrics import Metrics
  >>> from attnjax.training.state import TrainState
  >>> from attnjax.training.train_config import TrainConfig
  >>> import tempfile
  >>> from jax import numpy as jnp
  >>> state = TrainState(jnp.int32(0), jnp.float32(0), ())
  >>> def step(state, batch):
  ...   state = TrainState(state.step + 1, state.params + batch, ())
  ...   return state, {"loss": state.params, "weight": 1.0}
  >>> config, workdir = TrainConfig(steps=3), tempfile.mkdtemp()
  >>> with (
  ...   Checkpoints(f"{workdir}/checkpoints", config.checkpoint) as checkpoints,
  ...   Metrics(workdir, tensorboard=False) as metrics,
  ... ):
  ...   state = train(
  ...     state, step=step, batch_at=float, config=config,
  ...     checkpoints=checkpoints, metrics=metrics,
  ...   )
  >>> float(state.params)
  3.0
  """
  show = Progress(
    config.steps,
    seconds=config.progress_seconds,
    quiet=jax.process_index() != 0,
  )
  with show as progress, Interruption() as interruption, watched():
    state = _restore(state, checkpoints, progress)
    first = int(state.step)
    metrics.resume(first)
    run = Run(
      step=step,
      batch_at=batch_at,
      checkpoints=checkpoints,
      metrics=metrics,
      config=config,
      evaluate=evaluate,
      place=place,
      progress=progress,
      interruption=interruption,
    )
    return run.go(state, first)


def _restore(
  state: TrainState, checkpoints: Checkpoints, progress: Progress
) -> TrainState:
  """The newest whole checkpoint, or the given state where there is none."""
  if not checkpoints.steps():
    progress.say("no checkpoint: starting at step 0")
    return state
  like = jax.tree.map(_shape, state)
  # Freed first: a restored state takes its place, not twice the memory.
  for leaf in jax.tree.leaves(state):
    if isinstance(leaf, jax.Array) and not leaf.is_deleted():
      leaf.delete()
  restored = checkpoints.restore(like)
  if restored is None:
    raise FileNotFoundError(
      "checkpoints: the steps found at the start are gone; start again"
    )
  for sentence in restored.skipped:
    progress.say(f"skipped: {sentence}")
  progress.say(f"resuming after step {restored.step}")
  return restored.state


def _shape(x: Any) -> jax.ShapeDtypeStruct:
  """Shape and dtype of an array, and where it has been put on purpose."""
  placed = isinstance(x, jax.Array) and x.committed
  return jax.ShapeDtypeStruct(
    x.shape, x.dtype, sharding=x.sharding if placed else None
  )
