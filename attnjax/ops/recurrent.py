"""Gated recurrent units (GRU) as pure functions of their parameters.

`flax.nnx.GRUCell` projects its input at every step and needs `nnx.scan`. Here
the inputs of all steps are projected at once, and `jax.lax.scan` runs the rest.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from attnjax.ops.integers import checked_lengths
from attnjax.ops.value_checks import poison
from attnjax.typing import Array, Float, Int

__all__ = [
  "GRUParams",
  "gru_inputs",
  "gru_scan",
  "gru_step",
  "gru_update",
  "real_steps",
]


class GRUParams(NamedTuple):
  """Kernels ``D 3 M`` of inputs and ``M 3 M`` of states, and biases ``3 M``.

  The gates stand in the order reset, update, candidate, as in PyTorch, whose
  ``weight_ih`` is ``3M D``: its transpose, reshaped, is `inputs`.

  >>> import jax.numpy as jnp
  >>> zeros = jnp.zeros((3, 2))
  >>> GRUParams(jnp.ones((5, 3, 2)), jnp.ones((2, 3, 2)), zeros, zeros).width
  2
  """

  inputs: Float[Array, "D 3 M"]
  state: Float[Array, "M 3 M"]
  inputs_bias: Float[Array, "3 M"]
  state_bias: Float[Array, "3 M"]

  @property
  def width(self) -> int:
    """M, features of the state."""
    return self.state.shape[-1]


def gru_inputs(
  params: GRUParams, inputs: Float[Array, "*B D"]
) -> Float[Array, "*B 3 M"]:
  """Input part of the three gates, x W + b, for all steps at once.

  >>> import jax.numpy as jnp
  >>> zeros = jnp.zeros((3, 2))
  >>> params = GRUParams(jnp.ones((5, 3, 2)), jnp.ones((2, 3, 2)), zeros, zeros)
  >>> gru_inputs(params, jnp.ones((7, 5))).shape
  (7, 3, 2)
  """
  gates = jnp.einsum("...d,dgm->...gm", inputs, params.inputs)
  return gates + _lifted(params.inputs_bias, gates.ndim)


def gru_update(
  params: GRUParams, state: Float[Array, "*B M"], gates: Float[Array, "*B 3 M"]
) -> Float[Array, "*B M"]:
  """Next state from the input part of the gates; see `gru_step`.

  >>> import jax.numpy as jnp
  >>> zeros = jnp.zeros((3, 2))
  >>> params = GRUParams(jnp.ones((5, 3, 2)), jnp.ones((2, 3, 2)), zeros, zeros)
  >>> state, gates = jnp.ones(2), jnp.zeros((3, 2)).at[1].set(100.0)
  >>> gru_update(params, state, gates).tolist()  # update gate 1: keep all
  [1.0, 1.0]
  """
  own = jnp.einsum("...m,mgn->...gn", state, params.state)
  own = own + _lifted(params.state_bias, own.ndim)

  gates_of = lambda x: (x[..., 0, :], x[..., 1, :], x[..., 2, :])
  (r_in, z_in, n_in), (r_own, z_own, n_own) = map(gates_of, (gates, own))
  reset = jax.nn.sigmoid(r_in + r_own)
  update = jax.nn.sigmoid(z_in + z_own)
  # The reset gate multiplies the product, its bias included, as in cuDNN.
  candidate = jnp.tanh(n_in + reset * n_own)
  # The interpolation of `gru_step`, with one product instead of two.
  return candidate + update * (state - candidate)


def gru_step(
  params: GRUParams, state: Float[Array, "*B M"], inputs: Float[Array, "*B D"]
) -> Float[Array, "*B M"]:
  """One step of a gated recurrent unit.

      r  = σ(x W_r + b_r + h U_r + c_r)
      z  = σ(x W_z + b_z + h U_z + c_z)
      n  = tanh(x W_n + b_n + r ⊙ (h U_n + c_n))
      h' = (1 - z) ⊙ n + z ⊙ h

  The reset gate multiplies the product h U_n + c_n, its bias included, as in
  cuDNN and PyTorch; the paper multiplies the state before the product.

  Args:
    params: weights and biases.
    state: h, ``*B M``.
    inputs: x, ``*B D``.

  Returns:
    h', ``*B M``: between h and a candidate in (-1, 1).

  >>> import jax.numpy as jnp
  >>> zeros = jnp.zeros((3, 2))
  >>> kernels = jnp.zeros((5, 3, 2)), jnp.zeros((2, 3, 2))
  >>> params = GRUParams(*kernels, zeros, zeros)
  >>> gru_step(params, jnp.ones(2), jnp.ones(5)).tolist()  # z = 1/2, n = 0
  [0.5, 0.5]

  Reference:
    Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder for
    Statistical Machine Translation", 2014, arXiv 1406.1078; the variant: its
    version 1, and Appleyard, Kočiský, Blunsom, "Optimizing Performance of
    Recurrent Neural Networks on GPUs", 2016, arXiv 1604.01946.
  """
  return gru_update(params, state, gru_inputs(params, inputs))


def gru_scan(
  params: GRUParams,
  inputs: Float[Array, "*B T D"],
  state: Float[Array, "*B M"] | None = None,
  *,
  lengths: Int[Array, "*B"] | None = None,
  reverse: bool = False,
) -> tuple[Float[Array, "*B T M"], Float[Array, "*B M"]]:
  """Runs a gated recurrent unit along a sequence.

      h[t] = gru_step(h[t - 1], x[t]) where t < length, else h[t - 1]

  Args:
    params: weights and biases.
    inputs: x, ``*B T D``.
    state: the one before the first step, ``*B M``; None is zeros.
    lengths: int ``*B``, steps that are real, the rest being padding at the end
      that may hold anything; None is all.
    reverse: from the last real step to the first.

  Returns:
    The state after each step, ``*B T M``, 0 at padding; and the state after
    the last, ``*B M``.

  Raises:
    ValueError: if a length that is known is outside 0 and T; where it is known
      only at run time its row is NaN.

  >>> import jax.numpy as jnp
  >>> zeros = jnp.zeros((3, 2))
  >>> params = GRUParams(jnp.ones((5, 3, 2)), jnp.ones((2, 3, 2)), zeros, zeros)
  >>> x = jnp.linspace(-1, 1, 15).reshape(3, 5)
  >>> states, last = gru_scan(params, x, lengths=jnp.array(2))
  >>> bool((states[1] == last).all() & (states[2] == 0).all())
  True
  """
  *batch, count, _ = inputs.shape
  real, wrong = real_steps(lengths, tuple(batch), count)
  if real is not None:
    # Padding may hold NaN. Selected after the scan instead, its gradient would
    # be 0 · NaN.
    inputs = poison(jnp.where(real[..., None], inputs, 0), wrong)

  # One large product for all steps; the scan keeps only h U.
  gates = gru_inputs(params, inputs)
  if state is None:
    state = jnp.zeros((*batch, params.width), gates.dtype)

  def step(state, step_inputs):
    gates, is_real = step_inputs
    new = gru_update(params, state, gates)
    if is_real is not None:
      new = jnp.where(is_real[..., None], new, state)
    return new, new

  # `scan` walks the leading axis.
  steps = (
    jnp.moveaxis(gates, -3, 0),
    None if real is None else jnp.moveaxis(real, -1, 0),
  )

  last, states = jax.lax.scan(step, state, steps, reverse=reverse)
  states = jnp.moveaxis(states, 0, -2)
  if real is not None:
    states = jnp.where(real[..., None], states, 0)
  return states, last


def real_steps(lengths, batch: tuple[int, ...], count: int):
  """The steps that are not padding, bool ``*B T``, and rows out of range.

  The first is None where all are real, the second as of `refuse`. A row out of
  range counts as real throughout, so that `poison` marks all of it.

  >>> import jax.numpy as jnp
  >>> real_steps(jnp.array([1, 3]), (2,), 3)[0].sum(-1).tolist()
  [1, 3]
  """
  if lengths is None:
    return None, None

  lengths, wrong = checked_lengths(
    "lengths", lengths, batch, count, f"the {count} steps that came"
  )
  step = jnp.arange(count, dtype=jnp.int32).reshape((1,) * len(batch) + (-1,))
  return step < jnp.asarray(lengths)[..., None], wrong


def _lifted(bias, rank: int):
  """Prepends axes of size 1 to a bias, up to a rank."""
  return bias.reshape((1,) * (rank - bias.ndim) + bias.shape)
