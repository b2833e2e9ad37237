"""Score mods that are a formula: a soft cap, and biases linear in distance."""

import math
from typing import Any

import jax.numpy as jnp

from attnjax.ops.node import node, static
from attnjax.ops.score_mods.protocol import ScoreMod, distance
from attnjax.ops.value import written
from attnjax.typing import Array, Float

__all__ = ["alibi", "softcap"]


@node
class _Softcap(ScoreMod):
  cap: float = static()

  def __repr__(self):
    return written("softcap", self.cap)

  def __call__(self, logit, b, h, q, k):
    return self.cap * jnp.tanh(logit / self.cap)


@node
class _Alibi(ScoreMod):
  slopes: Any

  def __repr__(self):
    return written("alibi", self.slopes)

  def __call__(self, logit, b, h, q, k):
    slope = jnp.asarray(self.slopes)[h].astype(logit.dtype)
    return logit - slope * distance(q, k).astype(logit.dtype)

  def validate(self, batch, heads):
    if jnp.shape(self.slopes) != (heads,):
      raise ValueError(
        f"score_mod alibi: slopes have shape {list(jnp.shape(self.slopes))},"
        f" expected one a query head, [{heads}]; positions.alibi_slopes(heads)"
        " makes them"
      )


def softcap(cap: float) -> ScoreMod:
  """Keeps logits within ±cap: cap · tanh(logit / cap).

  Args:
    cap: a positive number, in the unit of the logits.

  Raises:
    ValueError: if the cap is not positive.

  >>> import jax.numpy as jnp
  >>> float(softcap(2.0)(jnp.float32(1e6), 0, 0, 0, 0))
  2.0

  Reference:
    Gemma Team, "Gemma 2: Improving Open Language Models at a Practical Size",
    2024, arXiv 2408.00118, section 2.
  """
  if not 0 < cap < math.inf:
    raise ValueError(f"softcap: cap must be positive and finite, got {cap!r}")
  return _Softcap(float(cap))


def alibi(slopes: Float[Array, " H"]) -> ScoreMod:
  """Attention with linear biases: logit - slope[h] · |q - k|.

  Args:
    slopes: one a query head, >= 0, in logits a position; see
      `positions.alibi_slopes`. Gradients reach them.

  >>> import jax.numpy as jnp
  >>> mod = alibi(jnp.array([0.5]))
  >>> float(mod(jnp.float32(0), 0, jnp.int32(0), jnp.int32(7), jnp.int32(3)))
  -2.0

  Reference:
    Press, Smith, Lewis, "Train Short, Test Long: Attention with Linear Biases
    Enables Input Length Extrapolation", 2021, arXiv 2108.12409.
  """
  return _Alibi(slopes)
