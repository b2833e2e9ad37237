"""Check that no query of a decoding step may see an overwritten token.

A rolling cache overwrites its oldest tokens. A mask that looks back further
than the cache is refused, or where that is known only at run time, the rows of
its queries become NaN.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from attnjax.ops.grid import Area
from attnjax.ops.masks import Mask
from attnjax.ops.value_checks import known, refuse
from attnjax.typing import Array, Bool, Int

__all__ = ["sees_forgotten"]

_ANY = 2**30  # above every index of an array, and within int32


def sees_forgotten(
  mask: Mask,
  length: Int[Array | np.ndarray, "*B"],
  forgotten: Int[Array | np.ndarray, "*B"],
  count: int,
  *,
  lengths: Int[Array | np.ndarray, "*B"] | None = None,
  rolling: int | None = None,
) -> Bool[Array, "*B T"] | None:
  """Marks the new tokens whose mask may let them see a forgotten token.

  Args:
    mask: of the next tokens.
    length: int ``*B``, tokens that were read.
    forgotten: int ``*B``, how many of them, the oldest, are forgotten.
    count: T, tokens that come.
    lengths: int ``*B``, how many of the T are real; None is all.
    rolling: C, where a query sees the C tokens up to its own; None where it
      sees all that is not forgotten.

  Returns:
    For `poison`; None where it is known that no token does.

  Raises:
    ValueError: if it is known that one does; or a cache rolls, and no length
      could tell how far back the mask looks.

  >>> import numpy as np
  >>> from attnjax import masks
  >>> one = np.ones(1, np.int32)
  >>> sees_forgotten(masks.sliding_window(5), 9 * one, 0 * one, 4, rolling=6)
  >>> sees_forgotten(masks.sliding_window(6), 9 * one, 0 * one, 4, rolling=6)
  Traceback (most recent call last):
    ...
  ValueError: decode: mask may let the query at position 9 see ...
  """
  real = np.full(length.shape, count, np.int32) if lengths is None else lengths
  places = functools.partial(_places, count=count, rolling=rolling)

  def wrong(length, forgotten, real, *_):
    query, lost = places(length, forgotten)
    some = _may_see(mask, query, lost)

    # Known although the lengths are traced: the mask may see any token, so it
    # is refused while tracing.
    if rolling is not None and known(some) and not known(lost) and some.all():
      raise ValueError(
        "decode: mask must say how far back it looks where the cache rolls, got"
        f" {mask}, which may look at any token; give mask &"
        f" attnjax.masks.sliding_window({rolling - 1}) for the latest {rolling}"
        " tokens, or keep all of them with append"
      )

    return (lost > 0) & (query < (length + real)[..., None]) & some

  def error(*values):
    query, lost = places(*values[:2])
    first = tuple(np.argwhere(wrong(*values))[0])
    return ValueError(
      f"decode: mask may let the query at position {query[first]} see positions"
      f" before {lost[first]}, which the cache has forgotten; give it a larger"
      " capacity, or give mask &"
      f" attnjax.masks.sliding_window({query[first] - lost[first]})"
    )

  return refuse(wrong, error, length, forgotten, real, *jax.tree.leaves(mask))


def _places(length, forgotten, count: int, rolling: int | None):
  """Position of each new token, and how many first tokens are lost to it."""
  step = np.arange(count, dtype=np.int32)
  query = length[..., None] + step.reshape((1,) * length.ndim + (-1,))
  lost = forgotten[..., None] + 0 * query
  if rolling is None:
    return query, lost

  # `max` by arithmetic serves numpy and traced arrays alike.
  more = query - (rolling - 1) - lost
  return query, lost + more * (more > 0).astype(np.int32)


def _may_see(mask: Mask, query, lost):
  """Whether each query ``*B T`` may see any of the first `lost` tokens."""
  rows = math.prod(query.shape[:-1])
  shape = (rows, query.shape[-1], 1)
  q, last = query.reshape(shape), lost.reshape(shape)
  row = np.arange(rows, dtype=np.int32)[:, None, None]
  index = np.arange(shape[1], dtype=np.int32)[None, :, None]

  some, _ = mask.decide(
    Area(
      query=(q, q),
      key=(0 * last, last - 1),
      query_index=(index, index),
      key_index=(0, _ANY),  # a forgotten token has no index: any may be meant
      batch=(row, row),
    )
  )

  spread = np.broadcast_to if known(some) else jnp.broadcast_to
  return spread(some, shape).reshape(query.shape)
