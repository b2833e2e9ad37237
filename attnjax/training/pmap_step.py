"""Data parallelism by `jax.pmap`: the older way, equal to the mesh's."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from attnjax.training.state import TrainState
from attnjax.training.step import Step
from attnjax.typing import PyTree

_ROWS = "rows"  # the name of the axis of devices


@dataclasses.dataclass(frozen=True)
class _OnRows(Step):
  """The step of one device: its rows' sums, added to those of all others."""

  def _sums(self, state: TrainState, batch: PyTree) -> tuple[Any, ...]:
    """Sums over the batch of every device."""
    return jax.lax.psum(super()._sums(state, batch), _ROWS)

  def _key(self, state: TrainState) -> Any:
    """A key of this device alone: rows of two devices differ in noise."""
    return jax.random.fold_in(super()._key(state), jax.lax.axis_index(_ROWS))


def pmap_step(
  step: Step, devices: Sequence[jax.Device] | None = None
) -> tuple[Callable[[PyTree], PyTree], Callable[..., Any]]:
  r"""The step of `make_step` with the rows of a batch divided among devices.

  Device `i` has gradients :math:`g_i` of its rows' summed loss and their weight
  :math:`w_i`; all take the step of :math:`\sum_i g_i / \sum_i w_i`, which is
  that of the whole batch, however the weights fall. Every device has the whole
  state. A mesh with `data` does the same, and shares out more besides.

  Args:
    step: from `make_step`.
    devices: of this process; None is all of them.

  Returns:
    `replicate` and `stepped`. `replicate(state)` is the state on every device;
    `stepped(state, batch)` is the next one of it, and metrics as of `step`.

  Raises:
    ValueError: at the call, the devices do not divide the rows.

  >>> import jax.numpy as jnp
  >>> import optax
  >>> from attnjax.training import init_state, make_step
  >>> def loss_fn(params, batch, key):
  ...   return ((params - batch) ** 2).sum(), jnp.float32(batch.size)
  >>> optimizer = optax.sgd(0.5)
  >>> replicate, stepped = pmap_step(make_step(loss_fn, optimizer))
  >>> state = replicate(init_state(jnp.zeros(()), optimizer))
  >>> state, metrics = stepped(state, jnp.arange(8.0))
  >>> float(state.params[0]), float(metrics["gradient_norm"])
  (3.5, 7.0)
  """
  count = len(jax.local_devices() if devices is None else devices)
  values = {x.name: getattr(step, x.name) for x in dataclasses.fields(step)}
  on_rows = jax.pmap(
    _OnRows(**values), axis_name=_ROWS, devices=devices, donate_argnums=0
  )

  def replicate(state: PyTree) -> PyTree:
    copies = lambda x: jnp.broadcast_to(x, (count, *jnp.shape(x)))
    return jax.tree.map(copies, state)

  def stepped(state: PyTree, batch: PyTree) -> tuple[PyTree, dict[str, Any]]:
    state, metrics = on_rows(state, jax.tree.map(divided, batch))
    return state, {name: copies[0] for name, copies in metrics.items()}

  def divided(x: Any) -> Any:
    if not jnp.ndim(x) or x.shape[0] % count:
      raise ValueError(
        f"batch: expected rows that {count} devices divide, got shape"
        f" {jnp.shape(x)}; change the batch size, or give fewer devices"
      )
    return x.reshape(count, x.shape[0] // count, *x.shape[1:])

  return replicate, stepped
