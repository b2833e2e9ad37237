"""From the arguments of `attend` to a `Call`: checked, with one batch axis."""

import inspect
import math

import jax.numpy as jnp

from attnjax.ops import normalizers
from attnjax.ops import scoring as scorings
from attnjax.ops.attention import check
from attnjax.ops.attention.call import Call
from attnjax.ops.attention.dropout import words
from attnjax.ops.attention.logits import Rules
from attnjax.ops.divided import merged
from attnjax.ops.integers import narrowed
from attnjax.ops.masks import Mask
from attnjax.ops.masks.algebra import Indexed
from attnjax.ops.masks.arrays import realigned
from attnjax.ops.masks.covering import covering

__all__ = ["checked_call"]

_OFTEN_SWAPPED = (
  ("query", "key", "value"),
  ("key", "value"),
  ("query",),
  ("value",),
)


def checked_call(query, key, value, **options) -> Call:
  """The call that these arguments of `attend` ask for; see there."""
  named = {"query": query, "key": key, "value": value}
  named = {name: jnp.asarray(x) for name, x in named.items()}
  for name in options:
    if name not in _TAKEN:
      raise TypeError(
        f"attention takes no argument {name!r}, only {', '.join(_TAKEN)}"
      )
  try:
    return _checked(**named, **options)
  except ValueError as wrong:
    hint = _layout_hint(named, options)
    if not hint:
      raise
    raise ValueError(f"{wrong}{hint}") from None


def _layout_hint(named: dict, options: dict) -> str:
  """Says so where a call fits once axes T and H of some arrays are swapped."""
  if any(x.ndim < 3 for x in named.values()):
    return ""
  for names in _OFTEN_SWAPPED:
    if not any(named[n].shape[-3] < named[n].shape[-2] for n in names):
      continue  # it would have fewer tokens than heads
    swapped = {n: jnp.swapaxes(named[n], -3, -2) for n in names}
    try:
      _checked(**named | swapped, **options)
    except (TypeError, ValueError):
      continue
    return (
      f"; {', '.join(names)} look like '*B H T D': the layout here is"
      " '*B T H D', swap with jnp.swapaxes(x, -3, -2)"
    )
  return ""


def _checked(
  query,
  key,
  value,
  *,
  mask=None,
  score_mod=None,
  bias=None,
  scoring=scorings.scaled_dot(),
  normalizer=normalizers.softmax(),
  query_positions=None,
  key_positions=None,
  query_segment_ids=None,
  key_segment_ids=None,
  dropout_rate=0.0,
  dropout_key=None,
  dropout_shared=False,
  logits_dtype=jnp.float32,
  precision=None,
  aux=(),
) -> Call:
  """The call, of arrays."""
  check.arrays(query, key, value)
  *batch, length, heads, width = query.shape
  keys = key.shape[-3]
  shape = (*batch, heads, length, keys)
  check.parts(scoring, normalizer, width, heads)
  check.rules(mask, score_mod, tuple(batch), heads)
  rows = lambda name, x, size: _rows(name, x, tuple(batch), size)
  query_segment_ids, key_segment_ids = check.segments(
    query_segment_ids, key_segment_ids
  )
  query_positions, query_wrong = _positions("query_positions", query_positions)
  key_positions, key_wrong = _positions("key_positions", key_positions)
  if bias is not None:
    bias = check.bias_of(bias, shape)
  placed = (
    rows("query_positions", query_positions, length),
    rows("key_positions", key_positions, keys),
  )
  if mask is not None:
    mask = _aligned(mask, tuple(batch), shape)
    mask = covering(
      mask,
      tuple(batch),
      shape[-3:],
      (query_positions, key_positions),
      query_segment_ids,
    )
  return Call(
    query=_flat(query, 3),
    key=_flat(key, 3),
    value=_flat(value, 3),
    rules=Rules(
      mask=mask,
      bias=_table(bias, tuple(batch)),
      score_mod=score_mod,
      query_segment_ids=rows("query_segment_ids", query_segment_ids, length),
      key_segment_ids=rows("key_segment_ids", key_segment_ids, keys),
    ),
    scoring=scoring,
    normalizer=normalizer,
    query_positions=placed[0],
    key_positions=placed[1],
    wrong=_wrong_rows(
      rows("query_positions", query_wrong, length),
      rows("key_positions", key_wrong, keys),
    ),
    dropout_rate=check.dropout(dropout_rate, dropout_key),
    dropout_shared=dropout_shared,
    dropout_words=words(dropout_key) if dropout_rate else None,
    logits_dtype=check.logits_dtype(logits_dtype, query, key, value),
    precision=precision,
    aux=check.aux_names(aux),
  )


# Once, and not at every call.
_TAKEN = tuple(inspect.signature(_checked).parameters)


def _flat(x, trailing: int):
  """One batch axis for all the leading ones."""
  if x.ndim == trailing:
    return x[None]
  return merged(x, x.ndim - trailing)


def _aligned(mask, batch: tuple[int, ...], shape: tuple[int, ...]) -> Mask:
  """A mask, or an array as one, its boolean arrays ``#B #H #T #S``."""
  mask = mask if isinstance(mask, Mask) else Indexed(mask)
  fitted = lambda x: _table(check.broadcasts("mask", x, shape), batch)
  return realigned(fitted, mask)


def _table(x, batch: tuple[int, ...]):
  """``*#B #H #T #S`` with one batch axis, of size 1 where all of them are."""
  if x is None:
    return None
  if math.prod(x.shape[:-3]) != 1:
    x = jnp.broadcast_to(x, (*batch, *x.shape[-3:]))
  return _flat(x, 3)


def _rows(name: str, x, batch: tuple[int, ...], length: int):
  """``*#B T`` with one batch axis, of size 1 where all of them are."""
  if x is None:
    return None
  x = check.rows(name, x, batch, length)
  if math.prod(x.shape[:-1]) != 1:
    x = jnp.broadcast_to(x, (*batch, x.shape[-1]))
  return _flat(x, 1)


def _positions(name: str, x) -> tuple:
  """Positions as int32, and which of them are known at run time not to fit."""
  return (None, None) if x is None else narrowed(f"attend: {name}", x)


def _wrong_rows(query, key):
  """Queries without an answer, ``#B T``: a wrong key may be seen by any."""
  every = None if key is None else key.any(-1, keepdims=True)
  if query is None or every is None:
    return every if query is None else query
  return query | every
