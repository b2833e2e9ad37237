"""Gradients of the tokens of a chunk, stored as outer products.

The gradient of a token's loss by a matrix is an outer product, a ⊗ d, of the
input a of the map and the derivative d of the loss by its output. Stored as two
vectors, the gradients of C tokens take C (I + O) numbers per map, not C I O.

`token_gradients` takes all gradients at the same weights, for rules with
gradients="chunk". `delta_rule_updates` takes each at the weights W[t-1] before
its token: for a matrix that descends ½ ‖k W - v‖², token t writes the row e[t]
= θ[t] (v[t] - k[t] W[t-1]), where W[t-1] holds the rows before. That is a
triangular system of equations in the rows of a chunk.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from attnjax.ops.memory.recurrence import (
  ChunkCoefficients,
  decayed_inputs,
  decayed_scores,
)
from attnjax.ops.memory.rule import Rule
from attnjax.ops.shard_map_axes import varying_alike, varying_axes
from attnjax.typing import Array, Float

__all__ = [
  "OuterProducts",
  "delta_rule_updates",
  "has_linear_gradients",
  "token_gradients",
  "unit_inverse",
  "weighted_sum",
]


class OuterProducts(NamedTuple):
  """Matrices inputs[t] ⊗ cotangents[t], one per token and map name.

  Args:
    inputs: a, ``T I``, of the map.
    cotangents: d, ``T O``, of the loss by the output of the map.
  """

  inputs: dict[str, Float[Array, "T I"]]
  cotangents: dict[str, Float[Array, "T O"]]


def token_gradients(
  rule: Rule,
  weights: dict[str, Array],
  keys: Float[Array, "T D"],
  values: Float[Array, "T E"],
  threshold: Float[Array, " T"] | None,
  gain: Float[Array, " E"] | None = None,
) -> OuterProducts:
  """Gradient of each token's loss by the weights of one head.

  >>> import jax.numpy as jnp
  >>> from attnjax.ops.memory.rule import Rule
  >>> weights = {"map_0": jnp.zeros((1, 1))}
  >>> one = jnp.ones((1, 1))
  >>> found = token_gradients(Rule(), weights, one, one, None)
  >>> found.inputs["map_0"].item(), found.cotangents["map_0"].item()
  (1.0, -1.0)
  """
  if rule.structure.solves:
    inputs = rule.features(keys)
    told = rule.structure.told(inputs, values)
    # Of `dot` with each map as a matrix of its own.
    away = {name: -rows for name, rows in told.items()}
    return OuterProducts(dict.fromkeys(told, inputs), away)

  # Inside `jax.shard_map` the gradient by a value that does not vary over
  # devices is summed over them. Zeros cast to vary have a local gradient.
  axes = varying_axes(keys, values, *weights.values())
  zeros = lambda w: jnp.zeros((len(keys), w.shape[-1]), w.dtype)
  shifts = {n: varying_alike(zeros(w), axes) for n, w in weights.items()}

  # d is the derivative of the loss by a shift of 0 added to a map's output.
  def loss(shifts):
    inputs = {}

    def linear(name, x):
      inputs[name] = x
      return x @ weights[name] + shifts[name]

    answer = rule.structure(linear, rule.features(keys), gain)
    return rule.objective(answer, values, threshold).sum(), inputs

  cotangents, inputs = jax.grad(loss, has_aux=True)(shifts)
  return OuterProducts(inputs, cotangents)


def weighted_sum(
  products: OuterProducts, scales: Float[Array, "T *I"]
) -> dict[str, Float[Array, "I O"]]:
  """Σ_t scales[t] inputs[t] ⊗ cotangents[t], a matrix a map.

  By channel, ``T I``, scales multiply each feature of the inputs.

  >>> import jax.numpy as jnp
  >>> pair = OuterProducts({"m": jnp.ones((2, 1))}, {"m": jnp.ones((2, 1))})
  >>> weighted_sum(pair, jnp.array([1.0, 2.0]))["m"].item()
  3.0
  """
  scales = scales if scales.ndim > 1 else scales[:, None]
  return {
    name: (a * scales).T @ products.cotangents[name]
    for name, a in products.inputs.items()
  }


def has_linear_gradients(rule: Rule) -> bool:
  """Whether each token's gradient is linear in the updates before it.

  Then `delta_rule_updates` computes gradients at every token, a chunk at once.

  >>> from attnjax.ops.memory.rule import Rule
  >>> has_linear_gradients(Rule())
  True
  """
  return (
    (rule.structure.is_linear or rule.structure.solves)
    and rule.objective.slopes is not None
    and rule.retention.is_plain
    and not rule.algorithm.iterations
    and rule.window == 1
  )


def delta_rule_updates(
  rule: Rule,
  slopes: tuple[float, float],
  coefficients: ChunkCoefficients,
  weights: Float[Array, "I O"],
  momentum: Float[Array, "I O"] | None,
  keys: Float[Array, "C I"],
  values: Float[Array, "C O"],
  gates: dict[str, Array],
) -> Float[Array, "C O"]:
  """Delta-rule updates: the row e that each token writes along its key.

  Args:
    rule: for which `has_linear_gradients` holds.
    slopes: of its objective.
    coefficients: of the weights before each token's own update.
    weights: before the chunk.
    momentum: before the chunk.
    keys: features of the keys.
    values: ``C O``.
    gates: the rule's, a number a token; a rate of 0 writes nothing.

  >>> import jax.numpy as jnp
  >>> from attnjax.ops.memory.recurrence import chunk_coefficients
  >>> from attnjax.ops.memory.rule import Rule
  >>> one, twice = jnp.ones((1, 1)), jnp.ones((2, 1))
  >>> before = chunk_coefficients(jnp.ones(2, bool), None, None).before()
  >>> gates = {"rate": jnp.ones(2)}
  >>> arrays = before, 0 * one, None, twice, twice, gates
  >>> delta_rule_updates(Rule(), (1.0, 1.0), *arrays).tolist()
  [[1.0], [0.0]]

  Reference:
    Yang et al., "Parallelizing Linear Transformers with the Delta Rule over
    Sequence Length", 2024, arXiv 2406.06484; with decay: Yang, Kautz,
    Hatamizadeh, "Gated Delta Networks: Improving Mamba2 with Delta Rule", 2024,
    arXiv 2412.06464. With momentum it is the same system with other numbers.
  """
  of_answer, of_value = slopes
  rate = gates["rate"][:, None]
  # `dot`: its gradient does not depend on the weights.
  if of_answer == 0:
    return of_value * rate * values

  scale, asked = of_answer * rate, keys
  if rule.decayed:
    keep = 1 - gates["decay"]
    asked = keys * (keep if keep.ndim > 1 else keep[:, None])

  # Outputs for the keys from the state before the chunk, decayed up to each.
  answers = decayed_inputs(coefficients, asked) @ weights
  share = coefficients.momentum_in_weights
  if momentum is not None and share is not None:
    answers = answers + share[:, None] * (asked @ momentum)

  # (I + L) e = right side, where L e is the part of the outputs that comes from
  # earlier rows of the chunk.
  right_side = of_value * rate * values - scale * answers
  below = decayed_scores(coefficients.updates_in_weights, asked, keys)
  below = scale * below
  return unit_inverse(below) @ right_side


def unit_inverse(below: Float[Array, "C C"]) -> Float[Array, "C C"]:
  """Inverse of I + L for a strictly lower triangular L, by matrix products.

      [[A, 0], [B, D]]⁻¹ = [[A⁻¹, 0], [-D⁻¹ B A⁻¹, D⁻¹]]

  from blocks of size 1 upwards, all blocks of a size at once: log C steps,
  where a triangular solve has C.

  >>> import jax.numpy as jnp
  >>> unit_inverse(jnp.array([[0.0, 0.0], [3.0, 0.0]])).tolist()
  [[1.0, 0.0], [-3.0, 1.0]]
  """
  # Not `solve_triangular`: LAPACK's solver, called by two parts of a program at
  # once for many heads, can deadlock on a machine of two cores (jaxlib 0.10.2):
  # each call holds a thread and asks for another.
  count = len(below)
  # Padded to a power of two, with rows of the identity.
  size = 1 << (count - 1).bit_length()
  below = jnp.pad(below, (0, size - count))
  blocks = jnp.ones((size, 1, 1), below.dtype)

  while len(blocks) > 1:
    first, second = blocks[0::2], blocks[1::2]
    pairs, width = len(first), blocks.shape[-1]
    tiles = below.reshape((pairs, 2, width, pairs, 2, width))
    # B: left of the second diagonal block of a pair, below the first.
    between = jnp.einsum("nanb->nab", tiles[:, 1, :, :, 0, :])
    blocks = jnp.block(
      [
        [first, jnp.zeros_like(first)],
        [-second @ between @ first, second],
      ]
    )

  return blocks[0, :count, :count]
