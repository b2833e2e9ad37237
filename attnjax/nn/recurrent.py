"""Recurrent modules: parameters, and a call of the primitives."""

import jax
import jax.numpy as jnp
from flax import nnx

from attnjax.ops.recurrent import GRUParams, gru_scan, gru_step
from attnjax.typing import Array, Float, Int

__all__ = ["GRU", "GRUCell"]

_FAN_IN = jax.nn.initializers.variance_scaling(1.0, "fan_in", "normal")
_ORTHOGONAL = jax.nn.initializers.orthogonal()


class GRUCell(nnx.Module):
  """One step of a gated recurrent unit; see `ops.recurrent.gru_step`.

  Kernels of states start orthogonal, gate by gate, which keeps the length of
  what is carried; biases start at 0.

  Args:
    inputs: D, features of an input.
    width: M, features of the state.
    rngs: Flax NNX random streams; uses "params".

  Raises:
    ValueError: if a size is below 1.

  A state within (-1, 1) stays there, whatever comes in:

  >>> import jax.numpy as jnp
  >>> from flax import nnx
  >>> cell = GRUCell(3, 5, rngs=nnx.Rngs(0))
  >>> state = cell(jnp.zeros(5), 1e6 * jnp.ones(3))
  >>> bool((jnp.abs(state) <= 1).all())
  True

  Reference:
    Cho et al., 2014, arXiv 1406.1078; orthogonal starts: Saxe, McClelland,
    Ganguli, "Exact solutions to the nonlinear dynamics of learning in deep
    linear neural networks", 2013, arXiv 1312.6120.
  """

  def __init__(self, inputs: int, width: int, *, rngs: nnx.Rngs):
    if inputs < 1 or width < 1:
      raise ValueError(
        f"GRU: inputs and width must be at least 1, got {inputs} and {width}"
      )
    kernel = _FAN_IN(rngs.params(), (inputs, 3 * width), jnp.float32)
    self.inputs_kernel = nnx.Param(kernel.reshape((inputs, 3, width)))
    gates = [
      _ORTHOGONAL(key, (width, width), jnp.float32)
      for key in jax.random.split(rngs.params(), 3)
    ]
    self.state_kernel = nnx.Param(jnp.stack(gates, axis=1))
    self.inputs_bias = nnx.Param(jnp.zeros((3, width), jnp.float32))
    self.state_bias = nnx.Param(jnp.zeros((3, width), jnp.float32))

  @property
  def params(self) -> GRUParams:
    """The parameters, as the primitives take them."""
    return GRUParams(
      self.inputs_kernel[...],
      self.state_kernel[...],
      self.inputs_bias[...],
      self.state_bias[...],
    )

  def __call__(
    self, state: Float[Array, "*B M"], inputs: Float[Array, "*B D"]
  ) -> Float[Array, "*B M"]:
    """The next state."""
    return gru_step(self.params, state, inputs)


class GRU(nnx.Module):
  """A gated recurrent unit along a sequence, in one direction or in both.

  Args:
    inputs: D, features of an input.
    width: M, features of the state of a direction.
    bidirectional: whether a second unit reads from the end to the start; the
      outputs of the two stand side by side, ``2M`` features.
    rngs: Flax NNX random streams; uses "params".

  Raises:
    ValueError: if a size is below 1.

  Read both ways, every output knows the whole sequence:

  >>> import jax.numpy as jnp
  >>> from flax import nnx
  >>> layer = GRU(3, 5, bidirectional=True, rngs=nnx.Rngs(0))
  >>> x = jnp.ones((7, 3))
  >>> changed = layer(x)[0] != layer(x.at[6].set(2.0))[0]
  >>> changed[0].tolist() == 5 * [False] + 5 * [True]
  True

  Reference:
    Cho et al., 2014, arXiv 1406.1078; Schuster, Paliwal, "Bidirectional
    Recurrent Neural Networks", 1997.
  """

  def __init__(
    self,
    inputs: int,
    width: int,
    *,
    bidirectional: bool = False,
    rngs: nnx.Rngs,
  ):
    self.forward = GRUCell(inputs, width, rngs=rngs)
    both = bidirectional
    self.backward = GRUCell(inputs, width, rngs=rngs) if both else None

  def __call__(
    self,
    inputs: Float[Array, "*B T D"],
    state: Float[Array, "*B N"] | None = None,
    *,
    lengths: Int[Array, "*B"] | None = None,
  ) -> tuple[Float[Array, "*B T N"], Float[Array, "*B N"]]:
    """Outputs and the last state, of ``N = M`` or ``2M`` features.

    Args:
      inputs: ``*B T D``.
      state: the one before, ``*B N``; None is zeros.
      lengths: int ``*B``, steps that are real; the rest is padding at the end,
        where outputs are 0 and the state stays. None is all.
    """
    if self.backward is None:
      return gru_scan(self.forward.params, inputs, state, lengths=lengths)
    states = (None, None) if state is None else jnp.split(state, 2, axis=-1)
    there, back = (
      gru_scan(cell.params, inputs, start, lengths=lengths, reverse=reverse)
      for cell, start, reverse in (
        (self.forward, states[0], False),
        (self.backward, states[1], True),
      )
    )
    pairs = zip(there, back, strict=True)
    outputs, last = (jnp.concatenate(pair, axis=-1) for pair in pairs)
    return outputs, last
