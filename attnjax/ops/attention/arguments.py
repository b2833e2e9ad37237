"""The arguments of `attend`, checked and made into one `Call`.

`AttendOptions` lists the options with their types, `_checked` with their
defaults; `attend`, `explain` and all others take them from here.
"""

import dataclasses
import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any, TypedDict

import jax
import jax.numpy as jnp
import numpy as np

from attnjax.ops import normalizers
from attnjax.ops import scoring as scorings
from attnjax.ops.attention import validate
from attnjax.ops.attention.dropout import words
from attnjax.ops.attention.logits import Rules
from attnjax.ops.explicit_axes import merged, parted
from attnjax.ops.grid import Grid
from attnjax.ops.integers import narrowed
from attnjax.ops.masks import Mask
from attnjax.ops.masks.algebra import Indexed
from attnjax.ops.masks.arrays import covering, realigned
from attnjax.ops.normalizers import Normalizer
from attnjax.ops.pytree_dataclass import pytree_dataclass, static
from attnjax.ops.score_mods import ScoreMod
from attnjax.ops.scoring import Scoring
from attnjax.ops.value_checks import poison
from attnjax.typing import (
  Array,
  Bool,
  DTypeLike,
  Float,
  Int,
  PrecisionLike,
  Shaped,
)

__all__ = [
  "AttendOptions",
  "Aux",
  "AuxNames",
  "Call",
  "checked_call",
  "with_options",
]

# One name or more: then there is a pair. Of a sequence there may be.
AuxNames = str | tuple[str, *tuple[str, ...]]


class AttendOptions(TypedDict, total=False):
  """Options of `attend` that say what is computed; it tells what each means.

  `aux` and `implementation`, which say what is returned and how it is computed,
  are its own arguments.
  """

  mask: Mask | Bool[Array | np.ndarray, "..."] | None
  score_mod: ScoreMod | None
  bias: Float[Array, "..."] | None
  scoring: Scoring
  normalizer: Normalizer
  query_positions: Int[Array | np.ndarray, "..."] | None
  key_positions: Int[Array | np.ndarray, "..."] | None
  query_segment_ids: Int[Array | np.ndarray, "..."] | None
  key_segment_ids: Int[Array | np.ndarray, "..."] | None
  dropout_rate: float
  dropout_key: Shaped[Array, "..."] | None
  logits_dtype: DTypeLike
  precision: PrecisionLike


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Aux:
  """What attention knows beside its output; None is what was not asked for.

  Args:
    logsumexp: ``*B H T`` float32, log Σ_s exp(logit) over the keys that count,
      -inf where nothing is seen; differentiable.
    weights: ``*B H T S``, before dropout.
    entropy: ``*B H T``, -Σ_s w log w, in nats.
    max_logit: ``*B H T``, the largest logit seen, -inf where none is; of equal
      ones the first carries the gradient.

  >>> import attnjax, jax.numpy as jnp
  >>> x = jnp.ones((3, 1, 2))
  >>> _, aux = attnjax.attend(x, x, x, aux=("weights",))
  >>> aux.weights.shape, aux.entropy is None
  ((1, 3, 3), True)
  """

  # `| Any` and not `| None`: who asked for one need not prove that it is there.
  logsumexp: Float[Array, "*B H T"] | Any = None
  weights: Float[Array, "*B H T S"] | Any = None
  entropy: Float[Array, "*B H T"] | Any = None
  max_logit: Float[Array, "*B H T"] | Any = None


@pytree_dataclass
class Call:
  """The arguments of `attend` after its checks, defaults filled in.

  However many batch axes the caller has, here there is one.
  """

  query: Float[Array, "B T H D"]
  key: Float[Array, "B S K D"]
  value: Float[Array, "B S K E"]
  rules: Rules
  scoring: Scoring
  normalizer: Normalizer
  query_positions: Int[Array, "#B T"] | None
  key_positions: Int[Array, "#B S"] | None
  dropout_words: Shaped[Array, "2"] | None
  # Queries of which an argument turns out at run time to be out of range.
  wrong: Bool[Array, "#B #T"] | None
  dropout_rate: float = static()
  dropout_shared: bool = static()
  logits_dtype: jnp.dtype = static()
  precision: PrecisionLike = static()
  aux: tuple[str, ...] = static()

  @property
  def shape(self) -> tuple[int, int, int, int]:
    """``B H T S``, the shape of the logits."""
    batch, length, heads, _ = self.query.shape
    return batch, heads, length, self.key.shape[1]

  @property
  def group(self) -> int:
    """Query heads a key head serves, G = H // K."""
    return self.query.shape[2] // self.key.shape[2]

  @property
  def footprint(self) -> int:
    """Numbers held for each logit while it, or its gradient, is made."""
    mod = self.rules.score_mod
    return max(self.scoring.footprint, 1 if mod is None else mod.footprint)

  @property
  def positioned(self) -> bool:
    """Whether arrays say where a token stands, or of which segment it is."""
    arrays = (
      self.query_positions,
      self.key_positions,
      self.rules.query_segment_ids,
    )
    return any(x is not None for x in arrays)

  def grid(self) -> Grid:
    """The coordinates of every logit of the call."""
    batch, heads, length, keys = self.shape
    return Grid.of(
      (batch,),
      heads,
      length,
      keys,
      self.query_positions,
      self.key_positions,
    )

  def answer(self, out, aux: Aux, batch: tuple[int, ...], *like):
    """What `attend` returns: `out`, or with `aux` the pair.

    Args:
      out: ``B T H E``.
      aux: of the same call.
      batch: sizes of the leading axes that the caller gave.
      *like: arrays whose sharding on an explicit mesh these axes take.
    """
    if self.wrong is not None:
      out = poison(out, self.wrong)
      aux = poison(aux, self.wrong[:, None])

    out, aux = jax.tree.map(lambda x: parted(x, batch, *like), (out, aux))
    return (out, aux) if self.aux else out

  def prepared(self) -> tuple[Array, Array, Array]:
    """Queries ``B K G T D``, keys ``B K S D`` and values ``B K S E``.

    Queries and keys are in the dtype of the logits and ready to be scored.
    """
    batch, length, heads, width = self.query.shape
    grouped = (batch, length, heads // self.group, self.group, width)
    query = self.query.astype(self.logits_dtype).reshape(grouped)
    query = jnp.moveaxis(query, 1, 3)
    key, value = (jnp.moveaxis(x, 1, 2) for x in (self.key, self.value))
    key = key.astype(self.logits_dtype)
    return *self.scoring.prepare(query, key, self.precision), value


def checked_call(
  query, key, value, options: Mapping[str, Any], *, dropout_shared: bool = False
) -> Call:
  """The call of these arguments of `attend`, defaults filled in.

  Args:
    query: ``*B T H D``.
    key: ``*B S K D``.
    value: ``*B S K E``.
    options: of `AttendOptions`, and `aux`.
    dropout_shared: whether all batch rows and heads drop the same weights.

  Raises:
    TypeError: for an option that there is not.
    ValueError: an argument does not fit; the message names it and the remedy.
  """
  named = {"query": query, "key": key, "value": value}
  named = {name: jnp.asarray(x) for name, x in named.items()}

  for name in options:
    if name not in _TAKEN:
      raise TypeError(
        f"attention takes no argument {name!r}, only {', '.join(_TAKEN)}"
      )

  try:
    return _checked(**named, **options, dropout_shared=dropout_shared)
  except ValueError as wrong:
    hint = _layout_hint(named, options)
    if not hint:
      raise
    raise ValueError(f"{wrong}{hint}") from None


_TAKEN = ("query", "key", "value", *AttendOptions.__annotations__, "aux")


def _layout_hint(named: dict, options: Mapping[str, Any]) -> str:
  """Says so where a call fits once axes T and H of some arrays are swapped."""
  if any(x.ndim < 3 for x in named.values()):
    return ""

  often = (("query", "key", "value"), ("key", "value"), ("query",), ("value",))
  for names in often:
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
  """The call of arrays and of options of known names."""
  validate.arrays(query, key, value)
  *leading, length, heads, width = query.shape
  batch, keys = tuple(leading), key.shape[-3]
  shape = (*batch, heads, length, keys)

  validate.parts(scoring, normalizer, width, heads)
  validate.rules(mask, score_mod, batch, heads)
  if bias is not None:
    bias = validate.bias_of(bias, shape)

  # Ids and positions in few bits, before their shapes are looked at: what does
  # not fit 32 bits is an error here, or a wrong row if it is traced.
  query_segment_ids, key_segment_ids = validate.segments(
    query_segment_ids, key_segment_ids
  )
  query_positions, query_wrong = _positions("query_positions", query_positions)
  key_positions, key_wrong = _positions("key_positions", key_positions)

  of_queries = lambda name, x: _rows(f"query_{name}", x, batch, length)
  of_keys = lambda name, x: _rows(f"key_{name}", x, batch, keys)
  query_rows = of_queries("positions", query_positions)
  key_rows = of_keys("positions", key_positions)

  if mask is not None:
    mask = covering(
      _aligned(mask, batch, shape),
      batch,
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
      bias=_table(bias, batch),
      score_mod=score_mod,
      query_segment_ids=of_queries("segment_ids", query_segment_ids),
      key_segment_ids=of_keys("segment_ids", key_segment_ids),
    ),
    scoring=scoring,
    normalizer=normalizer,
    query_positions=query_rows,
    key_positions=key_rows,
    wrong=_wrong_rows(
      of_queries("positions", query_wrong), of_keys("positions", key_wrong)
    ),
    dropout_rate=validate.dropout(dropout_rate, dropout_key),
    dropout_shared=dropout_shared,
    dropout_words=words(dropout_key) if dropout_rate else None,
    logits_dtype=validate.logits_dtype(logits_dtype, query, key, value),
    precision=precision,
    aux=validate.aux_names(aux),
  )


def with_options(function: Callable) -> inspect.Signature:
  """The signature of a function, its last `**options` one by one.

  >>> spelled = with_options(lambda query, *, aux=(), **options: query)
  >>> list(spelled.parameters)[:4]
  ['query', 'aux', 'mask', 'score_mod']
  """
  own = inspect.signature(function)
  parameters = list(own.parameters.values())[:-1]
  options = inspect.signature(_checked).parameters
  parameters += [
    options[name].replace(annotation=kind)
    for name, kind in AttendOptions.__annotations__.items()
  ]
  return own.replace(parameters=parameters)


def _flat(x, trailing: int):
  """One batch axis for all the leading ones."""
  if x.ndim == trailing:
    return x[None]
  return merged(x, x.ndim - trailing)


def _aligned(mask, batch: tuple[int, ...], shape: tuple[int, ...]) -> Mask:
  """A mask, or an array as one, its boolean arrays ``#B #H #T #S``."""
  mask = mask if isinstance(mask, Mask) else Indexed(mask)
  fitted = lambda x: _table(validate.broadcasts("mask", x, shape), batch)
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
  x = validate.rows(name, x, batch, length)
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
