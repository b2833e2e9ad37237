"""Verdicts about tiles never lie, whatever is known when they are asked."""

import functools
import operator

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax import masks
from attnjax.masks import Tile
from attnjax.ops.grid import Area, Grid
from attnjax.ops.masks.bounds import _at_once, _by_row
from attnjax.ops.masks.padding import BlockPadding

B, H, T, S = 3, 2, 11, 13
LEAVES = {
  "full": lambda r: masks.full(),
  "causal": lambda r: masks.causal(),
  "window": lambda r: masks.sliding_window(*_ints(r, 0, 6, 2)),
  "dilated": lambda r: masks.dilated(*_ints(r, 1, 5, 1)),
  "chunked": lambda r: masks.chunked(*_ints(r, 1, 7, 1)),
  "extent": lambda r: BlockPadding(*_ints(r, 0, 14, 2)),
  "prefix": lambda r: masks.prefix(r.integers(0, S + 2, _rows(r))),
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


def _expressions():
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


def _make(expression):
  name, *rest = expression
  if name in LEAVES:
    return LEAVES[name](np.random.default_rng(rest[0]))
  function = {"and": operator.and_, "or": operator.or_, "not": operator.inv}
  return functools.reduce(function[name], map(_make, rest[1:]), _make(rest[0]))


def _positions(kind, size, r):
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


def _area(q, k, query_block, key_block, rows_block):
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


MODES = ("known", "traced leaves", "traced bounds", "traced")


def _check(mask, q, k, blocks, mode):
  area, edges = _area(q, k, *blocks)
  anything, all_of_it = _truth(_seen(mask, q, k), edges)
  some, every = (
    np.broadcast_to(x, anything.shape) for x in _decided(mask, area, mode)
  )
  assert not (anything & ~some).any(), "a tile said to be empty is not"
  assert not (every & ~all_of_it).any(), "a tile said to be full is not"
  return anything, all_of_it, some, every


def _draws(examples):
  kinds = st.sampled_from(["default", "later", "random", "rows"])
  blocks = st.tuples(*(st.sampled_from([1, 2, 4, 16]) for _ in "TS"))
  rows = st.sampled_from([1, 2, 3])

  def decorate(test):
    drawn = hypothesis.given(
      _expressions(), kinds, kinds, blocks, rows, st.integers(0, 2**31)
    )
    return hypothesis.settings(deadline=None, max_examples=examples)(
      drawn(test)
    )

  return decorate


@_draws(40)
def test_what_is_known_never_lies(expression, of_q, of_k, blocks, rows, seed):
  r = np.random.default_rng(seed)
  q, k = _positions(of_q, T, r), _positions(of_k, S, r)
  _check(_make(expression), q, k, (*blocks, rows), "known")


@pytest.mark.parametrize("mode", MODES[1:])
@_draws(6)
def test_what_is_traced_never_lies(
  mode, expression, of_q, of_k, blocks, rows, seed
):
  r = np.random.default_rng(seed)
  q, k = _positions(of_q, T, r), _positions(of_k, S, r)
  _check(_make(expression), q, k, (*blocks, rows), mode)


@pytest.mark.parametrize("name", LEAVES)
def test_every_constructor_knows_and_does_not_lie(name):
  for seed in range(12):
    r = np.random.default_rng([seed, len(name)])
    mask = LEAVES[name](r)
    for kind in ("default", "rows"):
      q, k = _positions(kind, T, r), _positions(kind, S, r)
      _check(mask, q, k, (4, 2, 1 + 2 * (seed % 2)), "known")


@pytest.mark.parametrize("name", sorted(set(LEAVES) - {"from_fn"}))
def test_what_is_traced_is_decided_as_what_is_known(name):
  r = np.random.default_rng(7)
  mask = LEAVES[name](r)
  q, k = _positions("rows", T, r), _positions("random", S, r)
  area, _ = _area(q, k, 4, 2, 1)
  known = mask.decide(area)
  assert all(isinstance(x, bool | np.bool_ | np.ndarray) for x in known)

  @jax.jit
  def traced(m, query, key):
    return m.decide(area._replace(query=query, key=key))

  for x, y in zip(traced(mask, area.query, area.key), known, strict=True):
    np.testing.assert_array_equal(*np.broadcast_arrays(x, y))


EXACT = [
  ("causal", masks.causal()),
  ("anticausal", ~masks.causal()),
  ("window", masks.sliding_window(3, 2)),
  ("chunked", masks.chunked(4)),
  ("dilated", masks.dilated(3)),
  ("extent", BlockPadding(7, 9)),
  ("prefix", masks.prefix(5)),
  ("lengths", masks.lengths(7, 9)),
  ("lengths_rows", masks.lengths([7, 0, 4], [9, 3, 0])),
  ("segments", masks.segments(np.arange(S) // 4)),
  ("segments_rows", masks.segments(np.arange(S) // [[2], [4], [7]])),
  ("segments_gaps", masks.segments(np.arange(S) // 3 * 5 - 9)),
  ("dense", masks.dense(np.random.default_rng(0).random((T, S)) < 0.6)),
  (
    "dense_rows",
    masks.dense(np.random.default_rng(1).random((B, H, T, S)) < 0.8),
  ),
  ("dense_one_query", masks.dense(np.arange(S)[None] % 4 < 2)),
  ("dense_one_key", masks.dense(np.arange(T)[:, None] % 4 < 2)),
]


@pytest.mark.parametrize(("name", "mask"), EXACT, ids=[n for n, _ in EXACT])
def test_says_empty_and_full_whenever_it_is_so(name, mask):
  for blocks in ((4, 3), (1, 1), (16, 16)):
    truth = _check(mask, None, None, (*blocks, 1), "known")
    np.testing.assert_array_equal(truth[2], truth[0], name)
    np.testing.assert_array_equal(truth[3], truth[1], name)


@pytest.mark.parametrize(
  ("name", "mask"),
  [row for row in EXACT if jax.tree.leaves(row[1])],
)
def test_says_so_too_where_arrays_are_traced(name, mask):
  truth = _check(mask, None, None, (4, 3, 1), "traced leaves")
  np.testing.assert_array_equal(truth[2], truth[0], name)
  np.testing.assert_array_equal(truth[3], truth[1], name)


def test_plain_bounds_ask_about_every_row():
  mask = masks.lengths(key=[2, 5, 3])
  for key, expected in (
    ((0, 1), (True, True)),
    ((2, 3), (True, False)),
    ((5, 6), (False, False)),
  ):
    area = Area((0, 0), key, (0, 0), key)
    assert tuple(map(bool, mask.decide(area))) == expected
  area = Area((0, 0), (2, 4), (0, 0), (2, 4), (1, 1))
  assert tuple(map(bool, mask.decide(area))) == (True, True)


def test_a_flat_list_of_tiles_may_be_asked():
  table = np.random.default_rng(3).random((B, 1, T, S)) < 0.5
  mask = masks.dense(table) | masks.segments(np.arange(S) // 4)
  q, k = (x.ravel().astype(np.int32) for x in np.mgrid[0:8:4, 0:12:4])
  query, key = (q, q + 3), (k, k + 3)
  some, every = mask.decide(Area(query, key, query, key))
  for i, (x, y) in enumerate(zip(q, k, strict=True)):
    tile = np.asarray(mask.dense(T, S, batch=(B,)))[:, :, x : x + 4, y : y + 4]
    assert some[i] | ~tile.any()
    assert tile.all() | ~every[i]


def test_no_arrays_are_planned_inside_jit():
  mask = (masks.causal() & masks.sliding_window(3)) | ~masks.chunked(4)
  area, _ = _area(None, None, 4, 3, 1)

  @jax.jit
  def step(x):
    some, every = mask.decide(area)
    assert isinstance(some, np.ndarray)
    assert isinstance(every, np.ndarray)
    return x

  step(1)
  assert mask.is_static
  assert (masks.full() & BlockPadding(2, 3)).is_static
  assert not (mask & masks.prefix(3)).is_static
  assert not masks.dense(np.ones((2, 2), bool)).is_static


def test_known_arrays_are_planned_inside_jit():
  mask = masks.segments(jnp.arange(S) // 3) & masks.dense(np.ones((T, S), bool))
  area, _ = _area(None, None, 4, 3, 1)

  @jax.jit
  def step(x):
    assert all(isinstance(v, np.ndarray) for v in mask.decide(area))
    return x

  step(1)


def test_what_a_known_side_settles_stays_known():
  def tile(n):
    mask = masks.causal() & masks.lengths(key=n)
    assert mask.tile((0, 4), (4, 8)) is Tile.EMPTY
    assert mask.tile((4, 8), (0, 4)) is Tile.MIXED
    either = masks.causal() | masks.lengths(key=n)
    assert either.tile((4, 8), (0, 4)) is Tile.FULL
    assert either.tile((0, 4), (4, 8)) is Tile.MIXED
    return n

  jax.jit(tile)(2)


def test_verdicts_of_vmapped_leaves():
  area, _ = _area(None, None, 4, 3, 1)
  area = area._replace(batch=None)
  ids = np.arange(S) // [[2], [4], [7]]
  tables = np.random.default_rng(0).random((B, T, S)) < 0.8

  def one(ids, table):
    return (masks.segments(ids) & masks.dense(table)).decide(area)

  got = jax.vmap(one)(jnp.asarray(ids), jnp.asarray(tables))
  for row in range(B):
    for x, y in zip(got, one(ids[row], tables[row]), strict=True):
      np.testing.assert_array_equal(x[row], y)


def test_nothing_to_decide_is_decided():
  empty = np.zeros((0, 1, 1), np.int32)
  none = Area((empty, empty), (0, 2), (empty, empty), (0, 2), (empty, empty))
  for _, mask in EXACT:
    some, every = mask.decide(none)
    assert np.broadcast_to(np.asarray(some) & every, (0, 1, 1)).size == 0


@pytest.mark.parametrize(
  "mask",
  [
    masks.segments(np.zeros(0, int)),
    masks.dense(np.zeros((0, 3), bool)),
    masks.dense(np.zeros((3, 0), bool)),
  ],
)
def test_an_empty_table_shows_nothing_for_sure(mask):
  some, every = mask.decide(Area((0, 1), (0, 1), (0, 1), (0, 1)))
  assert some
  assert not every


@pytest.mark.parametrize("value", [True, False])
def test_both_ways_to_merge_rows_agree(value):
  r = np.random.default_rng(0)
  table = jnp.asarray(r.random((T, S)) < 0.5)
  cell = jnp.asarray(np.sort(r.integers(0, 5, T)), jnp.int32)
  start = jnp.zeros((6, S), bool)
  got, expected = (
    np.asarray(merge(table, cell, start, np.asarray(value)))
    for merge in (_at_once, _by_row)
  )
  np.testing.assert_array_equal(got, expected)
  assert not expected[-1].any()
  assert 0 < np.count_nonzero(expected) < expected.size - S


def test_extent_is_of_the_index():
  grid = Grid.of((), 1, 3, 3, jnp.full(3, 9), jnp.full(3, 9))
  seen = np.broadcast_to(BlockPadding(2, 1).visible(grid), (1, 3, 3))[0]
  assert seen.tolist() == [[1, 0, 0], [1, 0, 0], [0, 0, 0]]
