"""Gradients of tokens, each as two vectors a map: what came in, what it owes.

The gradient of a token's loss by a matrix is an outer product, a ⊗ d, of the
input a of the map and the derivative d of the loss by its output. Kept as two
vectors, the gradients of a chunk of C tokens take C (I + O) numbers a map and
not C I O, and what they add to a map is read by products of vectors.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from attnjax.ops.memory.rule import Rule
from attnjax.ops.varying import varying_alike, varying_axes
from attnjax.typing import Array, Float

__all__ = ["Factors", "factors", "matrices"]


class Factors(NamedTuple):
  """Gradients of T tokens as outer products, name -> vectors.

  Args:
    inputs: a, ``T I``.
    owed: d, ``T O``.
  """

  inputs: dict[str, Float[Array, "T I"]]
  owed: dict[str, Float[Array, "T O"]]


def factors(
  rule: Rule,
  weights: dict[str, Array],
  keys: Float[Array, "T D"],
  values: Float[Array, "T E"],
  threshold: Float[Array, " T"] | None,
) -> Factors:
  """The gradient of each token's loss by the weights of one head.

  >>> import jax.numpy as jnp
  >>> from attnjax.ops.memory.rule import Rule
  >>> weights = {"map_0": jnp.zeros((1, 1))}
  >>> found = factors(Rule(), weights, jnp.ones((1, 1)), jnp.ones((1, 1)), None)
  >>> found.inputs["map_0"].item(), found.owed["map_0"].item()
  (1.0, -1.0)
  """
  # Alike to what they are added to: inside `jax.shard_map` a gradient by what
  # is the same on all devices would be the sum over them.
  axes = varying_axes(keys, values, *weights.values())
  zeros = lambda w: jnp.zeros((len(keys), w.shape[-1]), w.dtype)
  shifts = {n: varying_alike(zeros(w), axes) for n, w in weights.items()}

  def loss(shifts):
    inputs = {}

    def linear(name, x):
      inputs[name] = x
      return x @ weights[name] + shifts[name]

    answer = rule.structure(linear, rule.features(keys))
    return rule.objective(answer, values, threshold).sum(), inputs

  owed, inputs = jax.grad(loss, has_aux=True)(shifts)
  return Factors(inputs, owed)


def matrices(
  given: Factors, shares: Float[Array, " T"]
) -> dict[str, Float[Array, "I O"]]:
  """The sum of the gradients, each times a number.

  >>> import jax.numpy as jnp
  >>> pair = Factors({"m": jnp.ones((2, 1))}, {"m": jnp.ones((2, 1))})
  >>> matrices(pair, jnp.array([1.0, 2.0]))["m"].item()
  3.0
  """
  return {
    name: (a * shares[:, None]).T @ given.owed[name]
    for name, a in given.inputs.items()
  }
