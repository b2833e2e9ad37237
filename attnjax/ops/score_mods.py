"""Score functions: a logit is changed by where it stands.

A score mod is a frozen pytree called as ``mod(logit, b, h, q, k) -> logit``:
batch row, query head, query position and key position, pointwise and
broadcasting. Arrays it captures are leaves, and gradients reach them.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from attnjax.ops.node import node, static
from attnjax.typing import Array, Float

__all__ = ["ScoreMod", "alibi", "compose", "from_fn", "softcap"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class ScoreMod:
  """Changes a logit, knowing where it stands.

  >>> from attnjax import score_mods
  >>> isinstance(score_mods.softcap(30.0), score_mods.ScoreMod)
  True
  """

  def __call__(self, logit, b, h, q, k):
    """The new logit, pointwise."""
    raise NotImplementedError

  def validate(self, batch: tuple[int, ...], heads: int) -> None:
    """Raises ValueError if a captured array does not fit this call."""


@node
class _Softcap(ScoreMod):
  cap: float = static()

  def __call__(self, logit, b, h, q, k):
    return self.cap * jnp.tanh(logit / self.cap)


@node
class _Alibi(ScoreMod):
  slopes: Any

  def __call__(self, logit, b, h, q, k):
    slope = jnp.asarray(self.slopes)[h].astype(logit.dtype)
    return logit - slope * jnp.abs(q - k).astype(logit.dtype)

  def validate(self, batch, heads):
    if jnp.shape(self.slopes) != (heads,):
      raise ValueError(
        f"score_mod alibi: slopes have shape {list(jnp.shape(self.slopes))},"
        f" expected one a query head, [{heads}]; positions.alibi_slopes(heads)"
        " makes them"
      )


@node
class _FromFn(ScoreMod):
  fn: Callable = static()
  arrays: tuple

  def __call__(self, logit, b, h, q, k):
    arrays = jax.tree.map(jnp.asarray, self.arrays)
    return self.fn(logit, b, h, q, k, *arrays)


@node
class _Compose(ScoreMod):
  mods: tuple

  def __call__(self, logit, b, h, q, k):
    for mod in self.mods:
      logit = mod(logit, b, h, q, k)
    return logit

  def validate(self, batch, heads):
    for mod in self.mods:
      mod.validate(batch, heads)


def softcap(cap: float) -> ScoreMod:
  """Keeps logits within ±cap: cap · tanh(logit / cap).

  Args:
    cap: a positive number, in the unit of the logits.

  Raises:
    ValueError: if the cap is not positive.

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

  >>> mod = alibi(jnp.array([0.5]))
  >>> float(mod(jnp.float32(0), 0, jnp.int32(0), jnp.int32(7), jnp.int32(3)))
  -2.0

  Reference:
    Press, Smith, Lewis, "Train Short, Test Long: Attention with Linear Biases
    Enables Input Length Extrapolation", 2021, arXiv 2108.12409.
  """
  return _Alibi(slopes)


def from_fn(fn: Callable, *arrays) -> ScoreMod:
  """Any function ``fn(logit, b, h, q, k, *arrays) -> logit``.

  A FlexAttention ``score_mod`` ports as it is. The function is part of the
  compiled program's identity: define it once, at top level.

  Args:
    fn: pointwise and broadcasting. Where a key is hidden it is asked about
      logit 0 at k = q, so it must be finite there.
    *arrays: captured arrays (or pytrees of them); gradients reach them.

  >>> halve = from_fn(lambda logit, b, h, q, k: logit / 2)
  >>> float(halve(jnp.float32(3), 0, 0, 0, 0))
  1.5
  """
  return _FromFn(fn, arrays)


def compose(*mods: ScoreMod) -> ScoreMod:
  """One score mod after the other, the first given first.

  >>> both = compose(from_fn(lambda s, b, h, q, k: s + 1), softcap(1.0))
  >>> float(both(jnp.float32(-1), 0, 0, 0, 0))
  0.0
  """
  return _Compose(mods)
