"""Calls whose arrays are divided over batch and heads on explicit mesh axes.

On a mesh with explicit axes, as `jax.make_mesh` makes it, the type of an array
says how it is divided. No key of one batch row, or of one head, is seen by
another: so each device computes the rows and heads that it has, in a
`jax.shard_map`, and the result is divided as the queries are. What a mask or a
score mod captures is given to each device whole.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import AbstractMesh, PartitionSpec

from attnjax.ops.attention.arguments import Aux, Call
from attnjax.ops.attention.block_sizes import Blocks, padded
from attnjax.ops.attention.live_tiles import of_every_head, tile_codes
from attnjax.ops.attention.tile_operands import bounded, subscripts_of
from attnjax.ops.explicit_axes import laid, mesh_of, names_of, sharding_of
from attnjax.ops.masks.arrays import realigned
from attnjax.ops.normalizers import Normalizer
from attnjax.ops.pytree_dataclass import pytree_dataclass, static
from attnjax.ops.shard_map_axes import varying_alike, varying_axes
from attnjax.ops.tiles import EMPTY, FULL, MIXED, Subscripts, Sweep
from attnjax.typing import Array

__all__ = ["Split", "found_by_device", "on_each_device", "refusal", "split_of"]

_ALONG = {
  "query": "bthd",
  "key": "bshd",
  "value": "bshe",
  "bias": "bhts",
  "query_segment_ids": "bt",
  "key_segment_ids": "bs",
  "query_positions": "bt",
  "key_positions": "bs",
}


class Split(NamedTuple):
  """The mesh axes that divide the batch and the heads of a call.

  Args:
    mesh: as it stands in the types of the arrays.
    batch: names of the axes that divide B.
    heads: names of the axes that divide H, and K where they can.
    whole: names of axes that divide nothing, and of which nothing may be left
      to the compiler: a program of one device is needed.
  """

  mesh: AbstractMesh
  batch: tuple[str, ...]
  heads: tuple[str, ...]
  whole: tuple[str, ...] = ()

  def __str__(self) -> str:
    """What of the call is divided over which axes."""
    what = {"batch": self.batch, "heads": self.heads}
    said = [f"{name} over {list(axes)}" for name, axes in what.items() if axes]
    return ", ".join(said) or "whole on every device"

  def parts(self, names: tuple[str, ...]) -> int:
    """How many devices axes of the mesh have together."""
    return math.prod(self.mesh.shape[name] for name in names)

  def local(self, shape: tuple[int, int, int, int]) -> tuple:
    """``B H T S`` of one device."""
    batch, heads, length, keys = shape
    rows = batch // self.parts(self.batch)
    return rows, heads // self.parts(self.heads), length, keys

  def group(self, call: Call) -> int:
    """Query heads of one device that share a key head of it."""
    heads, group = call.shape[1] // self.parts(self.heads), call.group
    if heads % group == 0:
      return group
    # Else the device has a part of the queries of one key head, or heads of
    # several: these get a key head each, see `_with_own_key_heads`.
    return heads if group % heads == 0 else 1

  def spec(self, axes: Subscripts) -> PartitionSpec:
    """How an array lies on the mesh, by the letters of its axes."""
    return sharding_of(self.mesh, self._names(axes)).spec

  def laid(self, x, axes: Subscripts):
    """An array, divided as it should be."""
    # Of one that is given whole no letter is known.
    axes = axes or "." * jnp.ndim(x)
    return laid(x, self.mesh, self._names(axes))

  def _names(self, axes: Subscripts):
    """The mesh axes of each axis."""
    names = {"b": self.batch, "h": self.heads}
    return tuple(names.get(axis, ()) for axis in axes)


def split_of(call: Call) -> Split | None:
  """How a call is divided; None where no type of its arrays says so."""
  mesh = mesh_of(*jax.tree.leaves(call))
  if mesh is None:
    return None
  batch: tuple[str, ...] = ()
  heads: tuple[str, ...] = ()
  for x, axes in _arrays(call).values():
    named = dict(zip(axes, names_of(x), strict=True))
    batch = batch or named.get("b", ())
    heads = heads or named.get("h", ())
  return Split(mesh, batch, tuple(n for n in heads if n not in batch))


def refusal(call: Call) -> str | None:
  """Why a call cannot be computed as it is divided; None if it can."""
  if mesh_of(*jax.tree.leaves(call)) is None:
    return None

  for name, (x, axes) in _arrays(call).items():
    for axis, names in zip(axes, names_of(x), strict=True):
      if not names or axis in "bh":
        continue
      what = "tokens" if axis in "ts" else "width"
      words = (
        f"the {what} of {name} (axis {axis.upper()}) are divided over mesh axes"
        f" {list(names)}, and of these only batch and heads can be;"
      )
      if what == "tokens":
        return (
          f"{words} attnjax.parallel (RingAttention and its kin) attends over"
          " divided tokens, jax.reshard brings them together"
        )
      return f"{words} jax.reshard brings them together"

  return None


def found_by_device(
  call: Call,
  blocks: Blocks,
  split: Split,
  walk: Callable,
  *,
  padded_by: Blocks | None = None,
  typed: bool = True,
) -> tuple[Array, Aux]:
  """(out ``B H T E``, aux) tile by tile, each device computing its part.

  Args:
    call: the whole.
    blocks: of the part of one device.
    split: of the call.
    walk: computes a part, of the call that is on a device, the tiles, and the
      indices in the whole of its batch rows and heads.
    padded_by: blocks of which the lengths are filled up; None is `blocks`.
    typed: as of `on_each_device`.
  """
  call = whole_where_captured(call, split)
  visited, kinds, codes = _tiles(call, blocks, split, padded_by or blocks)
  # Known while tracing, where no device has others than the next.
  alike = isinstance(codes, np.ndarray) and (codes == codes[:1]).all()
  known = codes[: len(visited)] if alike else None

  def here(call: Call, batch, head, codes):
    heads = call.shape[1] // blocks.heads
    tiles, at = of_every_head(visited, heads)
    own = (codes if known is None else known)[at]
    return walk(call, Sweep(tiles, own, blocks, kinds), batch, head)

  codes = jnp.asarray(codes), "b.."
  return on_each_device(here, call, split, split.spec("bh"), codes, typed=typed)


def on_each_device(
  function: Callable,
  call: Call,
  split: Split,
  out_specs,
  *more: tuple,
  typed: bool = True,
):
  """Each device's part of a call, computed there and put together.

  Args:
    function: of the call that is on a device, of the indices of its batch rows
      and of its heads in the whole, and of the parts of more arrays.
    call: the whole.
    split: of the call.
    out_specs: of what the function returns.
    *more: arrays, each with its axes.
    typed: whether JAX follows which values vary (`check_vma`).
  """
  batch, heads, *_ = call.shape
  subscripts, (leaves, tree) = _subscripts(call, split), jax.tree.flatten(call)
  group = call.group
  own = (
    (jnp.arange(batch, dtype=jnp.int32), "b"),
    (jnp.arange(heads, dtype=jnp.int32), "h"),
    *more,
  )

  def here(leaves, batch, head, *more):
    call = jax.tree.unflatten(tree, leaves)
    if head.size == heads:
      return function(call, batch, head, *more)
    call = _with_own_key_heads(call, head, group)
    some = _OfSomeHeads(call.normalizer, head, heads)
    call = dataclasses.replace(call, normalizer=some)
    return function(call, batch, head, *more)

  leaves = list(map(split.laid, leaves, subscripts))
  arrays = [split.laid(x, axes) for x, axes in own]
  manual = {*split.batch, *split.heads, *split.whole}
  if not manual:
    return here(leaves, *arrays)
  run = jax.shard_map(
    here,
    mesh=split.mesh,
    in_specs=(
      list(map(split.spec, subscripts)),
      *(split.spec(axes) for _, axes in own),
    ),
    out_specs=out_specs,
    axis_names=manual,
    check_vma=typed,
  )
  return run(leaves, *arrays)


def whole_where_captured(call: Call, split: Split) -> Call:
  """The call, with whole what masks and score mods capture."""
  leaves, tree = jax.tree.flatten(call)
  return jax.tree.unflatten(
    tree, list(map(split.laid, leaves, _subscripts(call, split)))
  )


@pytree_dataclass
class _OfSomeHeads(Normalizer):
  """A normalizer where some of the heads are, whatever it knows of each."""

  normalizer: Normalizer
  head: Any  # int ``h``, one after the other
  total: int = static()

  @property
  def keep(self):
    return self.normalizer.keep

  def weigh(self, logits):
    return self.normalizer.weigh(logits)

  def factor(self, logsumexp):
    found = self.normalizer.factor(self._among_all(logsumexp))
    return None if found is None else self._own(found)

  def __call__(self, logits):
    weights, logsumexp = self.normalizer(self._among_all(logits))
    return self._own(weights), self._own(logsumexp)

  def _among_all(self, rows):
    """Of heads that are elsewhere as of those that see nothing: no gradient."""
    shape = (rows.shape[0], self.total, *rows.shape[2:])
    every = jnp.full(shape, -jnp.inf, rows.dtype)
    every = varying_alike(every, varying_axes(rows, self.head))
    return lax.dynamic_update_slice_in_dim(every, rows, self.head[0], 1)

  def _own(self, x):
    return lax.dynamic_slice_in_dim(x, self.head[0], self.head.size, 1)


def _with_own_key_heads(call: Call, head, group: int) -> Call:
  """The key heads of the query heads that are here, where all of them are."""
  heads, shared = head.size, call.key.shape[2]
  if heads == shared * group:
    return call
  own = head // group
  if heads % group == 0 or group % heads == 0:
    count = max(heads // group, 1)
    take = lambda x: lax.dynamic_slice_in_dim(x, own[0], count, 2)
  else:  # they are served by parts of several: one for each
    take = lambda x: jnp.take(x, own, 2)
  return dataclasses.replace(call, key=take(call.key), value=take(call.value))


def _tiles(call: Call, blocks: Blocks, split: Split, padded_by: Blocks):
  """Which tiles some device visits, their kinds, and codes, all ``b t s``."""
  shape = padded(call.shape, padded_by)
  sizes = {"t": shape[2], "s": shape[3]}

  def longer(x, axes: Subscripts):
    # Not `pad`, which slices the axes that are divided too.
    for at, axis in enumerate(axes):
      more = sizes.get(axis, x.shape[at])
      if more != x.shape[at]:
        x = jnp.take(x, np.minimum(np.arange(more), x.shape[at] - 1), at)
    return x

  of = {
    name: longer(x, subscripts_of(axes, x) or "")
    for name, (x, axes) in _arrays(call).items()
    if name not in ("query", "key", "value", "bias")
  }
  mask = bounded(call, shape).mask
  rules = bounded(call, shape)._replace(
    mask=realigned(lambda x: longer(x, subscripts_of("bhts", x) or ""), mask),
    query_segment_ids=of.get("query_segment_ids"),
    key_segment_ids=of.get("key_segment_ids"),
  )
  places = of.get("query_positions"), of.get("key_positions")
  codes = tile_codes(shape, blocks, rules, *places)
  own = (codes.shape[0] // split.parts(split.batch), *codes.shape[1:])
  if isinstance(codes, np.ndarray):
    every = codes.reshape((-1, *own)) if codes.size else codes[None]
    live = (every != EMPTY).any(0)
    kinds = tuple(np.unique(every[:, live]).tolist())
    return live, kinds, codes
  if own[1] * own[2] == 1:  # one tile a row and head, and its mask
    return np.ones(own, bool), (MIXED,), np.full(codes.shape, MIXED, np.int8)
  return np.ones(own, bool), (EMPTY, MIXED, FULL), codes


def _arrays(call: Call) -> dict:
  """Arrays of a call that lie along its axes, with the letters of theirs."""
  rules = call.rules
  found = {
    "query": call.query,
    "key": call.key,
    "value": call.value,
    "bias": rules.bias,
    "query_segment_ids": rules.query_segment_ids,
    "key_segment_ids": rules.key_segment_ids,
    "query_positions": call.query_positions,
    "key_positions": call.key_positions,
  }
  arrays = {n: (x, _ALONG[n]) for n, x in found.items() if x is not None}

  # Boolean arrays that are composed in a mask have no name of their own.
  aligned: list = []
  realigned(aligned.append, rules.mask)
  tables = {f"mask {n}": (x, "bhts") for n, x in enumerate(aligned)}
  return arrays | tables


def _subscripts(call: Call, split: Split) -> list[Subscripts]:
  """The subscripts of each leaf of a call."""
  shared = call.key.shape[2] % split.parts(split.heads) == 0
  of = {f".{name}": axes for name, axes in _ALONG.items()}
  of |= {f".rules.{name}": axes for name, axes in _ALONG.items()}
  if not shared:  # fewer key heads than devices
    of |= {".key": "bs..", ".value": "bs.."}
  aligned = lambda x: subscripts_of("bhts", x)
  mask = realigned(aligned, call.rules.mask, otherwise=lambda x: "")
  masks = iter(jax.tree.leaves(mask))

  def one(path, x) -> Subscripts:
    name = jax.tree_util.keystr(path)
    if name.startswith(".rules.mask"):
      return next(masks)
    return (subscripts_of(of[name], x) or "") if name in of else ""

  leaves = jax.tree_util.tree_leaves_with_path(call)
  return [one(path, x) for path, x in leaves]
