"""Masks drawn at random, grids of tiles over them, and what is true of each."""

import functools
import operator

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np

from attnjax import masks
from attnjax.ops.grid import Area, Grid
from attnjax.ops.masks.padding import BlockPadding

B, H, T, S = 3, 2, 11, 13
MODES = ("known", "traced leaves", "traced bounds", "traced")
LEAVES = {
  "full": lambda r: masks.full(),
  "causal": lambda r: masks.causal(),
  "window": lambda r: masks.sliding_window(*_ints(r, 0, 6, 2)),
  "dilated": lambda r: masks.dilated(*_ints(r, 1, 5, 1)),
  "chunked": lambda r: masks.chunked(*_ints(r, 1, 7, 1)),
  "extent": lambda r: BlockPadding(*_ints(r, 0, 14, 2)),
  "prefix": lambda r: masks.prefix(r.integers(0, S + 2, _rows(r))),
  "query_prefix": lambda r: masks.query_prefix(r.integers(0, S, _rows(r))),
  "neighborhood": lambda r: masks.neighborhood((3, 4), _ints(r, 0, 2, 2)),
  "query_lengths": lambda r: masks.lengths(query=r.integers(0, T, _rows(r))),
  "lengths": lambda r: masks.lengths(
    r.integers(0, T + 2, _rows(r)), r.integers(0, S + 2, _rows(r))
  ),
  "segments": lambda r: masks.segments(
    np.sort(r.integers(0, 4, (*_rows(r), T)), -1), _ids(r)
  ),
  "segments_unsorted": lambda r: masks.segments(
    r.integers(0, 2, (*_rows(r), T)), _ids(r)
  ),
  "dense": lambda r: masks.dense(_table(r)),
  "from_fn": lambda r: masks.from_fn(_near, np.int32(r.integers(5))),
  "function": lambda r: masks.from_fn(_far),
}


def _ints(r, low, high, count):
  return r.integers(low, high, count).tolist()


def _rows(r):
  return ((), (1,), (B,))[r.integers(3)]


def _ids(r):
  # A table need not have the length of the call.
  ids = r.integers(0, 4, (*_rows(r), r.integers(1, S + 4)))
  return np.sort(ids, -1)


def _table(r):
  shape = [r.choice([1, n]) for n in (B, H)] + [T, r.integers(1, S + 2)]
  if r.random() < 0.2:
    shape[2] = 1
  table = r.random(shape) < 0.5
  table[..., 2:9, 4:12] = r.random() < 0.5
  return table[0] if shape[0] == 1 and r.random() < 0.5 else table


def _near(b, h, q, k, n):
  return (q + n >= k) & (b <= n)


def _far(b, h, q, k):
  return (abs(q - k) > 2) & (h + 4 > k)


def expressions():
  """Descriptions: a constructor with a seed, or an operator on two."""
  seeds = st.integers(0, 2**32 - 1)
  leaf = st.tuples(st.sampled_from(sorted(LEAVES)), seeds)
  node = leaf
  for _ in range(3):
    node = st.one_of(
      leaf,
      st.tuples(st.sampled_from(["and", "or"]), node, node),
      st.tuples(st.just("not"), node),
    )
  return node


def make(expression):
  name, *rest = expression
  if name in LEAVES:
    return LEAVES[name](np.random.default_rng(rest[0]))
  function = {"and": operator.and_, "or": operator.or_, "not": operator.inv}
  return functools.reduce(function[name], map(make, rest[1:]), make(rest[0]))


def placed(kind, size, r):
  """How tokens may stand: None is in order from 0."""
  if kind == "default":
    return None
  if kind == "later":
    return np.arange(size, dtype=np.int32) + r.integers(-4, 9, dtype=np.int32)
  shape = (B, size) if kind == "rows" else (size,)
  return r.integers(-3, 16, shape, dtype=np.int32)


def _blocks(size, block):
  """First and last of each block."""
  edges = np.arange(0, size, block, dtype=np.int32)
  return edges, np.minimum(edges + (block - 1), size - 1).astype(np.int32)


def _bounds(positions, low, high, groups):
  """Least and most of each block in each group of rows: ``R n``."""
  p = np.broadcast_to(positions, (B, positions.shape[-1]))
  ends = list(zip(low.tolist(), high.tolist(), strict=True))
  of = [[p[a : b + 1, x : y + 1] for x, y in ends] for a, b in groups]
  return tuple(
    np.array([[f(t) for t in row] for row in of], np.int32)
    for f in (np.min, np.max)
  )


def tiling(q, k, query_block, key_block, rows_block):
  """The area of a grid of tiles, as an engine asks, and its edges."""
  batch = _blocks(B, rows_block)
  groups = list(zip(*(x.tolist() for x in batch), strict=True))
  t, s = _blocks(T, query_block), _blocks(S, key_block)
  columns = tuple(x.reshape(1, -1, 1) for x in t)
  rows = tuple(x.reshape(1, 1, -1) for x in s)
  query, key = columns, rows
  if q is not None:
    query = tuple(x[:, :, None] for x in _bounds(q, *t, groups))
  if k is not None:
    key = tuple(x[:, None, :] for x in _bounds(k, *s, groups))
  area = Area(
    query, key, columns, rows, tuple(x.reshape(-1, 1, 1) for x in batch)
  )
  return area, (batch, t, s)


def _seen(mask, q, k):
  q, k = (None if x is None else jnp.asarray(x) for x in (q, k))
  grid = Grid.of((B,), H, T, S, q, k)
  return np.broadcast_to(mask.visible(grid), (B, H, T, S))


def _truth(seen, edges):
  """(any, all) of every tile."""
  ends = [
    list(zip(e[0].tolist(), (e[1] + 1).tolist(), strict=True)) for e in edges
  ]
  tiles = [
    [[seen[a:b, :, c:d, e:f] for e, f in ends[2]] for c, d in ends[1]]
    for a, b in ends[0]
  ]
  return tuple(
    np.array([[[f(x) for x in z] for z in y] for y in tiles])
    for f in (np.any, np.all)
  )


def _decided(mask, area, mode):
  """The verdict, with the leaves or the bounds known or traced."""
  if mode == "known":
    return mask.decide(area)
  if mode == "traced leaves":
    return jax.jit(lambda m: m.decide(area))(mask)
  if mode == "traced bounds":
    return jax.jit(mask.decide)(area)
  return jax.jit(lambda m, a: m.decide(a))(mask, area)


def check(mask, q, k, blocks, mode):
  """What is true of each tile and what is said, which must not be false."""
  area, edges = tiling(q, k, *blocks)
  anything, all_of_it = _truth(_seen(mask, q, k), edges)
  some, every = (
    np.broadcast_to(x, anything.shape) for x in _decided(mask, area, mode)
  )
  assert not (anything & ~some).any(), "a tile said to be empty is not"
  assert not (every & ~all_of_it).any(), "a tile said to be full is not"
  return anything, all_of_it, some, every


def draws(examples):
  kinds = st.sampled_from(["default", "later", "random", "rows"])
  blocks = st.tuples(*(st.sampled_from([1, 2, 4, 16]) for _ in "TS"))
  rows = st.sampled_from([1, 2, 3])

  def decorate(test):
    drawn = hypothesis.given(
      expressions(), kinds, kinds, blocks, rows, st.integers(0, 2**31)
    )
    return hypothesis.settings(deadline=None, max_examples=examples)(
      drawn(test)
    )

  return decorate
