"""Gradients at every token of a chunk at once, where they are linear.

A matrix that descends ½ ‖k W - v‖² writes at each token what it does not know
yet: the row e[t] = θ[t] (v[t] - k[t] W[t-1]), and W[t-1] has the rows before.
That is a triangular system of equations in the rows of a chunk, and solving it
is the whole recurrence: no gradient is stale.
"""

import jax.numpy as jnp

from attnjax.ops.memory.response import Response
from attnjax.ops.memory.rule import Rule
from attnjax.typing import Array, Float

__all__ = ["is_exact", "unit_inverse", "written_rows"]


def is_exact(rule: Rule) -> bool:
  """Whether gradients at every token have this form.

  >>> from attnjax.ops.memory.rule import Rule
  >>> is_exact(Rule())
  True
  """
  return (
    rule.structure.is_linear
    and rule.objective.slopes is not None
    and rule.retention.is_plain
    and not rule.algorithm.iterations
    and rule.window == 1
  )


def written_rows(
  rule: Rule,
  slopes: tuple[float, float],
  found: Response,
  weights: Float[Array, "I O"],
  momentum: Float[Array, "I O"] | None,
  keys: Float[Array, "C I"],
  values: Float[Array, "C O"],
  gates: dict[str, Array],
) -> Float[Array, "C O"]:
  """What each token writes beside its key, e ``C O``.

  Args:
    rule: for which `is_exact` holds.
    slopes: of its objective.
    found: the response before each token's own step.
    weights: before the chunk.
    momentum: before the chunk.
    keys: features of the keys.
    values: ``C O``.
    gates: the rule's, a number a token; a rate of 0 writes nothing.

  >>> import jax.numpy as jnp
  >>> from attnjax.ops.memory.rule import Rule
  >>> from attnjax.ops.memory.response import response
  >>> one, twice = jnp.ones((1, 1)), jnp.ones((2, 1))
  >>> found = response(jnp.ones(2, bool), None, None).before()
  >>> gates = {"rate": jnp.ones(2)}
  >>> given = found, 0 * one, None, twice, twice, gates
  >>> written_rows(Rule(), (1.0, 1.0), *given).tolist()
  [[1.0], [0.0]]

  Reference:
    Yang et al., "Parallelizing Linear Transformers with the Delta Rule over
    Sequence Length", 2024, arXiv 2406.06484; with decay: Yang, Kautz,
    Hatamizadeh, "Gated Delta Networks: Improving Mamba2 with Delta Rule", 2024,
    arXiv 2412.06464. With momentum it is the same system with other numbers.
  """
  of_answer, of_value = slopes
  rate = gates["rate"][:, None]
  if of_answer == 0:
    return of_value * rate * values
  scale = of_answer * rate
  if rule.decayed:
    scale = scale * (1 - gates["decay"])[:, None]
  answers = found.kept[:, None] * (keys @ weights)
  if momentum is not None:
    answers = answers + found.carried[:, None] * (keys @ momentum)
  wanted = of_value * rate * values - scale * answers
  system = scale * found.written * (keys @ keys.T)
  return unit_inverse(system) @ wanted


def unit_inverse(below: Float[Array, "C C"]) -> Float[Array, "C C"]:
  """(I + L)⁻¹ of a strictly lower triangular L, by products alone.

      [[A, 0], [B, D]]⁻¹ = [[A⁻¹, 0], [-D⁻¹ B A⁻¹, D⁻¹]]

  from blocks of one token to the whole, all blocks of a size at once: log C
  steps, where a solver has C. And the solver of LAPACK, called by two parts of
  a program at once for many heads, can wait for itself for ever on a machine of
  two cores (jaxlib 0.10.2): each call holds a thread and asks for another.

  >>> import jax.numpy as jnp
  >>> unit_inverse(jnp.array([[0.0, 0.0], [3.0, 0.0]])).tolist()
  [[1.0, 0.0], [-3.0, 1.0]]
  """
  count = len(below)
  size = 1 << (count - 1).bit_length()
  below = jnp.pad(below, (0, size - count))
  blocks = jnp.ones((size, 1, 1), below.dtype)
  while len(blocks) > 1:
    first, second = blocks[0::2], blocks[1::2]
    pairs, width = len(first), blocks.shape[-1]
    tiles = below.reshape((pairs, 2, width, pairs, 2, width))
    # Left of the second block of a pair, below its first.
    between = jnp.einsum("nanb->nab", tiles[:, 1, :, :, 0, :])
    blocks = jnp.block(
      [
        [first, jnp.zeros_like(first)],
        [-second @ between @ first, second],
      ]
    )
  return blocks[0, :count, :count]
