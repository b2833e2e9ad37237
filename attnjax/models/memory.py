"""What a decoder reads of a source: values, that a beam search repeats."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from attnjax.ops import masks
from attnjax.ops.node import node

__all__ = ["CrossMemory", "EncoderDecoderAux", "SequenceMemory"]


@node
class SequenceMemory:
  """What a recurrent encoder leaves behind.

  Args:
    outputs: ``*B S M``.
    keys: ``*B S A``, prepared for the attention; None where there is none.
    last: ``L *B M``, the last state of every layer.
    lengths: int ``*B``; None where nothing is padding.

  >>> import jax.numpy as jnp
  >>> memory = SequenceMemory(
  ...   jnp.ones((2, 5, 3)), None, jnp.ones((1, 2, 3)), jnp.array([5, 4]))
  >>> memory.repeat(2).lengths.tolist()
  [5, 5, 4, 4]
  """

  outputs: Any
  keys: Any
  last: Any
  lengths: Any

  def repeat(self, count: int) -> "SequenceMemory":
    """Each row ``count`` times, one after the other."""
    return SequenceMemory(
      _repeat(self.outputs, count, 0),
      _repeat(self.keys, count, 0),
      _repeat(self.last, count, 1),
      _repeat(self.lengths, count, 0),
    )


@node
class CrossMemory:
  """Keys and values of a source, for the cross-attention of every layer.

  Args:
    key: ``L *B S H D``.
    value: ``L *B S H D``.
    lengths: int ``*B``; None where nothing is padding.

  >>> import jax.numpy as jnp
  >>> x = jnp.ones((3, 2, 5, 1, 4))
  >>> CrossMemory(x, x, None).repeat(7).key.shape
  (3, 14, 5, 1, 4)
  """

  key: Any
  value: Any
  lengths: Any

  @property
  def mask(self) -> masks.Mask | None:
    """Hides the padding of the source."""
    return None if self.lengths is None else masks.lengths(key=self.lengths)

  def repeat(self, count: int) -> "CrossMemory":
    """Each row ``count`` times, one after the other."""
    return CrossMemory(
      _repeat(self.key, count, 1),
      _repeat(self.value, count, 1),
      _repeat(self.lengths, count, 0),
    )


class EncoderDecoderAux(NamedTuple):
  """What was kept of the attentions; arrays have a leading layer axis.

  Args:
    encoder: `Aux` of the source over itself: weights ``L *B H S S``.
    decoder: `Aux` of the target over itself: weights ``L *B H T T``.
    cross: `Aux` of the target over the source: weights ``L *B H T S``.

  >>> EncoderDecoderAux(1, 2, 3).cross
  3
  """

  encoder: Any
  decoder: Any
  cross: Any


def _repeat(x, count: int, axis: int):
  """An array whose rows are repeated, if there is one."""
  return None if x is None else jnp.repeat(x, count, axis=axis)
