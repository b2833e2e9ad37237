"""What a score mod is, any function as one, and one after the other."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from attnjax.ops.captured import refuse_captured
from attnjax.ops.integers import place
from attnjax.ops.node import node, static
from attnjax.ops.value import Value, written
from attnjax.typing import Array, Int, Shaped

__all__ = ["ScoreMod", "compose", "distance", "from_fn"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class ScoreMod(Value):
  """Changes a logit, knowing where it stands.

  >>> from attnjax import score_mods
  >>> isinstance(score_mods.softcap(30.0), score_mods.ScoreMod)
  True
  """

  @property
  def footprint(self) -> int:
    """Numbers held for each logit while its gradient is made."""
    return 1

  def __call__(self, logit, b, h, q, k):
    """The new logit, pointwise."""
    raise NotImplementedError

  def validate(self, batch: tuple[int, ...], heads: int) -> None:
    """Raises ValueError if a captured array does not fit this call."""


@node
class _FromFn(ScoreMod):
  fn: Callable = static()
  arrays: tuple

  def __repr__(self):
    return written("from_fn", self.fn, *self.arrays)

  def __call__(self, logit, b, h, q, k):
    arrays = jax.tree.map(jnp.asarray, self.arrays)
    return self.fn(logit, b, h, q, k, *arrays)


@node
class _Compose(ScoreMod):
  mods: tuple

  def __repr__(self):
    return written("compose", *self.mods)

  @property
  def footprint(self):
    return max((mod.footprint for mod in self.mods), default=1)

  def __call__(self, logit, b, h, q, k):
    for mod in self.mods:
      logit = mod(logit, b, h, q, k)
    return logit

  def validate(self, batch, heads):
    for mod in self.mods:
      mod.validate(batch, heads)


def from_fn(fn: Callable, *arrays) -> ScoreMod:
  """Any function ``fn(logit, b, h, q, k, *arrays) -> logit``.

  A FlexAttention ``score_mod`` ports as it is, but for traced arrays that it
  closes over: give those as `arrays`. The function is part of the
  compiled program's identity: define it once, at top level.

  Args:
    fn: pointwise and broadcasting: b is ``B 1 1 1``, h is ``1 H 1 1``, q is
      ``.. T 1`` and k ``.. 1 S``. Where a key is hidden it is asked about
      logit 0; one that may be undefined at such a key (it takes a log of its
      distance) is asked at k = q instead, where it must be finite, and about
      each query by itself, which costs more where it gathers by k.
    *arrays: captured arrays (or pytrees of them); gradients reach them.

  >>> import jax.numpy as jnp
  >>> halve = from_fn(lambda logit, b, h, q, k: logit / 2)
  >>> float(halve(jnp.float32(3), 0, 0, 0, 0))
  1.5
  """
  refuse_captured("score_mods.from_fn", fn)
  return _FromFn(fn, arrays)


def compose(*mods: ScoreMod) -> ScoreMod:
  """One score mod after the other, the first given first.

  >>> import jax.numpy as jnp
  >>> from attnjax.score_mods import softcap
  >>> both = compose(from_fn(lambda s, b, h, q, k: s + 1), softcap(1.0))
  >>> float(both(jnp.float32(-1), 0, 0, 0, 0))
  0.0
  """
  return _Compose(mods)


def distance(
  q: Int[Array | np.ndarray, "..."] | int,
  k: Int[Array | np.ndarray, "..."] | int,
) -> Shaped[Array, "..."]:
  """The distance |q - k| of two positions as uint32, exact for all of int32.

  >>> int(distance(2**31 - 1, -(2**31)))
  4294967295
  """
  q, k = (jnp.asarray(place(x), jnp.int32) for x in (q, k))
  # The difference of two int32 needs 32 bits and a sign. Of the greater less
  # the lesser the sign is known, and modulo 2^32 its 32 bits are exact.
  greater, lesser = jnp.maximum(q, k), jnp.minimum(q, k)
  return greater.astype(jnp.uint32) - lesser.astype(jnp.uint32)
