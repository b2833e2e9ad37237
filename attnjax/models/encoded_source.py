"""Encoded sources, to which decoders attend, and `Aux` of three attentions."""

from typing import NamedTuple

import jax.numpy as jnp

from attnjax.ops import masks
from attnjax.ops.pytree_dataclass import pytree_dataclass
from attnjax.typing import PyTree

__all__ = ["CrossMemory", "EncoderDecoderAux", "SequenceMemory"]


@pytree_dataclass
class SequenceMemory:
  """Encoded source of a `Seq2Seq`: the outputs of its recurrent encoder.

  Args:
    outputs: ``*B S M``.
    keys: ``*B S A`` of the attention; None where there is none.
    last: ``L *B M``, last states of the layers.
    lengths: int ``*B``; None without padding.

  >>> import jax.numpy as jnp
  >>> memory = SequenceMemory(
  ...   jnp.ones((2, 5, 3)), None, jnp.ones((1, 2, 3)), jnp.array([5, 4]))
  >>> memory.repeat(2).lengths.tolist()
  [5, 5, 4, 4]
  """

  outputs: PyTree
  keys: PyTree
  last: PyTree
  lengths: PyTree

  def repeat(self, count: int) -> "SequenceMemory":
    """Repeats each row ``count`` times in succession, once per beam."""
    return SequenceMemory(
      _repeat(self.outputs, count, 0),
      _repeat(self.keys, count, 0),
      # Layers are its first axis, rows the second.
      _repeat(self.last, count, 1),
      _repeat(self.lengths, count, 0),
    )


@pytree_dataclass
class CrossMemory:
  """Encoded source of an `EncoderDecoder`: keys and values of each layer.

  Args:
    key: ``L *B S H D``.
    value: ``L *B S H D``.
    lengths: int ``*B``; None without padding.

  >>> import jax.numpy as jnp
  >>> x = jnp.ones((3, 2, 5, 1, 4))
  >>> CrossMemory(x, x, None).repeat(7).key.shape
  (3, 14, 5, 1, 4)
  """

  key: PyTree
  value: PyTree
  lengths: PyTree

  @property
  def mask(self) -> masks.Mask | None:
    """The mask of the source's padding; None without padding."""
    return None if self.lengths is None else masks.lengths(key=self.lengths)

  def repeat(self, count: int) -> "CrossMemory":
    """Repeats each row ``count`` times in succession, once per beam."""
    return CrossMemory(
      # The first axis is that of layers, which the decoder scans.
      _repeat(self.key, count, 1),
      _repeat(self.value, count, 1),
      _repeat(self.lengths, count, 0),
    )


class EncoderDecoderAux(NamedTuple):
  """`Aux` of the three kinds of attention; arrays have a leading layer axis.

  Args:
    encoder: `Aux` of the source over itself: weights ``L *B H S S``.
    decoder: `Aux` of the target over itself: weights ``L *B H T T``.
    cross: `Aux` of the target over the source: weights ``L *B H T S``.

  >>> EncoderDecoderAux(1, 2, 3).cross
  3
  """

  encoder: PyTree
  decoder: PyTree
  cross: PyTree


def _repeat(x, count: int, axis: int):
  """An array with each row repeated; None stays None."""
  return None if x is None else jnp.repeat(x, count, axis=axis)
