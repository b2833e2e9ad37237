"""Verdicts about tiles never lie, whatever is known when they are asked."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drawn_masks import (
  LEAVES,
  MODES,
  B,
  H,
  S,
  T,
  check,
  draws,
  make,
  placed,
  tiling,
)

from attnjax import masks
from attnjax.masks import Tile
from attnjax.ops.grid import Area, Grid
from attnjax.ops.masks.bounds import _at_once, _by_row
from attnjax.ops.masks.padding import BlockPadding


def test_a_tile_is_empty_mixed_or_full():
  mask = masks.causal()
  assert mask.tile((0, 4), (4, 8)) is Tile.EMPTY  # every key is in the future
  assert mask.tile((4, 8), (0, 4)) is Tile.FULL  # every key is in the past
  assert mask.tile((4, 8), (4, 8)) is Tile.MIXED

  # The engine asks about many tiles at once: is some of it seen, is every?
  starts = np.arange(0, 12, 4)
  rows = starts[:, None], starts[:, None] + 3
  columns = starts[None], starts[None] + 3
  some, every = mask.decide(Area(rows, columns, rows, columns))
  assert some.tolist() == [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
  assert every.tolist() == [[0, 0, 0], [1, 0, 0], [1, 1, 0]]


@draws(12)
def test_what_is_known_never_lies(expression, of_q, of_k, blocks, rows, seed):
  r = np.random.default_rng(seed)
  q, k = placed(of_q, T, r), placed(of_k, S, r)
  check(make(expression), q, k, (*blocks, rows), "known")


@pytest.mark.parametrize("mode", MODES[1:])
@draws(6)
def test_what_is_traced_never_lies(
  mode, expression, of_q, of_k, blocks, rows, seed
):
  r = np.random.default_rng(seed)
  q, k = placed(of_q, T, r), placed(of_k, S, r)
  check(make(expression), q, k, (*blocks, rows), mode)


@pytest.mark.parametrize("name", LEAVES)
def test_every_constructor_knows_and_does_not_lie(name):
  for seed in range(12):
    r = np.random.default_rng([seed, len(name)])
    mask = LEAVES[name](r)
    for kind in ("default", "rows"):
      q, k = placed(kind, T, r), placed(kind, S, r)
      check(mask, q, k, (4, 2, 1 + 2 * (seed % 2)), "known")


@pytest.mark.parametrize("name", sorted(set(LEAVES) - {"from_fn", "function"}))
def test_what_is_traced_is_decided_as_what_is_known(name):
  r = np.random.default_rng(7)
  mask = LEAVES[name](r)
  q, k = placed("rows", T, r), placed("random", S, r)
  area, _ = tiling(q, k, 4, 2, 1)
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
  ("query_prefix", masks.query_prefix([5, 0, 2])),
  ("neighborhood", masks.neighborhood((3, 4), 1)),
  ("neighborhood_3d", masks.neighborhood((2, 3, 2), (0, 1, 0))),
  ("function", masks.from_fn(lambda b, h, q, k: (q * k) % 5 < 2)),
  ("function_rows", masks.from_fn(lambda b, h, q, k: (q + b) % 5 > k % 3)),
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
    truth = check(mask, None, None, (*blocks, 1), "known")
    np.testing.assert_array_equal(truth[2], truth[0], name)
    np.testing.assert_array_equal(truth[3], truth[1], name)


@pytest.mark.parametrize(
  ("name", "mask"),
  [row for row in EXACT if jax.tree.leaves(row[1])],
)
def test_says_so_too_where_arrays_are_traced(name, mask):
  truth = check(mask, None, None, (4, 3, 1), "traced leaves")
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
  area, _ = tiling(None, None, 4, 3, 1)

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
  area, _ = tiling(None, None, 4, 3, 1)

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
  area, _ = tiling(None, None, 4, 3, 1)
  area = area._replace(batch=None)
  ids = np.arange(S) // [[2], [4], [7]]
  tables = np.random.default_rng(0).random((B, T, S)) < 0.8

  def one(ids, table):
    return (masks.segments(ids) & masks.dense(table)).decide(area)

  got = jax.jit(jax.vmap(one))(jnp.asarray(ids), jnp.asarray(tables))
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
