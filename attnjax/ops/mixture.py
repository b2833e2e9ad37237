"""Mixture of experts: each token goes through the few layers it is sent to.

The experts are feed-forward layers of the same sizes, stacked. Tokens are
sorted by expert, and one product multiplies each run of rows by the kernel of
its expert (`jax.lax.ragged_dot`): no token is dropped, and none is padded.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from attnjax.ops.explicit_axes import by_device
from attnjax.ops.heads import Projection
from attnjax.typing import Array, Float, Int

__all__ = ["ExpertParams", "Routing", "mixture_of_experts", "route"]


class Routing(NamedTuple):
  """Which experts a token is sent to, and the weight of each.

  >>> import jax.numpy as jnp
  >>> Routing(jnp.array([[0, 2]]), jnp.array([[0.5, 0.5]])).experts.shape
  (1, 2)
  """

  experts: Int[Array, "*B T A"]
  weights: Float[Array, "*B T A"]


class ExpertParams(NamedTuple):
  """Maps of X experts: kernels ``X M F`` up and ``X F M`` down, and biases.

  >>> import jax.numpy as jnp
  >>> from attnjax.ops.heads import Projection
  >>> up, down = jnp.ones((3, 2, 5)), jnp.ones((3, 5, 2))
  >>> ExpertParams(Projection(up), Projection(down)).gate is None
  True
  """

  up: Projection
  down: Projection
  gate: Projection | None = None


def route(
  logits: Float[Array, "*B T X"],
  active: int,
  *,
  normalized: bool = False,
  scale: float = 1.0,
) -> Routing:
  """The experts with the largest logits, weighted by their softmax.

      weights = scale · softmax(logits)[a],  a the `active` largest

  Args:
    logits: ``*B T X``, of all experts.
    active: A, experts a token, in [1, X]; of equal logits the first is taken.
    normalized: whether the weights are divided by their sum, which is to take
      the softmax over the A largest alone.
    scale: of the weights.

  Returns:
    The experts, largest first, and their weights, float32 or wider.

  Raises:
    ValueError: `active` is out of its range.

  >>> import jax.numpy as jnp
  >>> experts, weights = route(jnp.array([[1.0, 3.0, 2.0]]), 2, normalized=True)
  >>> experts.tolist(), float(weights.sum().round(6))
  ([[1, 2]], 1.0)

  Reference:
    Shazeer et al., "Outrageously Large Neural Networks: The Sparsely-Gated
    Mixture-of-Experts Layer", 2017, arXiv 1701.06538, equations 3 to 5; a
    scale: DeepSeek-AI, "DeepSeek-V2", 2024, arXiv 2405.04434.
  """
  count = logits.shape[-1]
  if not 1 <= active <= count:
    raise ValueError(
      f"route: active must be in [1, {count}], the number of experts, got"
      f" {active}"
    )
  # bfloat16 has ties where float32 has none, and others would be chosen.
  logits = logits.astype(_wide(logits))
  weights, experts = jax.lax.top_k(jax.nn.softmax(logits, axis=-1), active)
  if normalized:
    weights = weights / weights.sum(axis=-1, keepdims=True)
  return Routing(experts, weights if scale == 1 else weights * scale)


def mixture_of_experts(
  params: ExpertParams,
  inputs: Float[Array, "*B T M"],
  routing: Routing,
  *,
  activation: Callable,
) -> Float[Array, "*B T M"]:
  """The weighted sum of the outputs of each token's experts.

      out[t] = Σ_a weights[t, a] · f_x(inputs[t]),  x = experts[t, a]
      f_x(u) = activation(u W_up[x], u W_gate[x]) W_down[x]

  Memory grows with the A T rows that are sent, whatever X is; on CPUs the
  product of JAX holds X T A M numbers for a while. Under `jax.vmap` JAX has no
  rule for its derivative: give batch axes instead.

  Args:
    params: of the experts.
    inputs: ``*B T M``.
    routing: of each token; an expert outside of [0, X) makes its row NaN.
    activation: ``(up, gate) -> hidden``, gate None without a gate.

  Returns:
    ``*B T M``, in the dtype of the inputs, which the kernels must have.

  Experts that are the same are one, whatever the routing:

  >>> import jax.numpy as jnp
  >>> from attnjax.ops.heads import Projection
  >>> up = Projection(jnp.stack([jnp.eye(3)] * 2))
  >>> down = Projection(2 * up.kernel)
  >>> x = jnp.array([[1.0, -1.0, 4.0]])
  >>> sent = route(jnp.array([[0.3, 0.1]]), 2)
  >>> mixture_of_experts(ExpertParams(up, down), x, sent,
  ...                    activation=lambda up, gate: up).tolist()
  [[2.0, -2.0, 8.0]]

  Reference:
    Gale et al., "MegaBlocks: Efficient Sparse Training with
    Mixture-of-Experts", 2022, arXiv 2211.15841, section 3.
  """
  kernels, structure = jax.tree.flatten(params)

  def rows(inputs, experts, weights, *kernels):
    whole = jax.tree.unflatten(structure, kernels)
    lead, width = inputs.shape[:-1], inputs.shape[-1]
    count = math.prod(lead)  # not -1: there may be no tokens
    flat = lambda x: x.reshape((count, x.shape[-1]))
    out = _sorted_by_expert(
      whole, flat(inputs), flat(experts), flat(weights), activation
    )
    return out.reshape((*lead, width))

  # Tokens stay on their devices, and every device has the experts' kernels.
  tokens = "abcdefgh"[: inputs.ndim - 1] + "."
  letters = [tokens] * 3 + ["." * k.ndim for k in kernels]
  with jax.named_scope("experts"):
    return by_device(rows, [inputs, *routing, *kernels], letters, tokens)


def _sorted_by_expert(params, inputs, experts, weights, activation):
  """Outputs ``N M`` of flat tokens."""
  tokens, active = experts.shape
  count = params.up.kernel.shape[0]
  flat = experts.reshape(tokens * active)
  order = jnp.argsort(flat, stable=True)
  sizes = jnp.bincount(flat, length=count).astype(jnp.int32)
  sent = flat[order]

  def product(x, projection):
    y = jax.lax.ragged_dot(x, projection.kernel, sizes)
    return y if projection.bias is None else y + projection.bias[sent]

  # Repeated and permuted: the transpose is a permutation and a sum.
  repeated = jnp.repeat(inputs, active, axis=0)[order]
  gate = None if params.gate is None else product(repeated, params.gate)
  hidden = activation(product(repeated, params.up), gate)
  out = product(hidden, params.down)[jnp.argsort(order)]

  out = out.reshape((tokens, active, out.shape[-1]))
  # Rows of no expert are sorted in among those of the first or the last.
  known = (experts >= 0) & (experts < count)
  wide = _wide(out)
  weights = jnp.where(known, weights, jnp.nan).astype(wide)[..., None]
  return (out.astype(wide) * weights).sum(axis=1).astype(out.dtype)


def _wide(x):
  """The dtype to sum in: float32, or float64 of float64."""
  return jnp.float64 if x.dtype == jnp.float64 else jnp.float32
