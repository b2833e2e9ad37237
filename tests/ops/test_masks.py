"""Masks mean what their formula says; tiles never lie; the algebra is exact."""

import chex
import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized

from attnjax import masks
from attnjax.masks import Tile

T, S = 11, 13
Q, K = np.mgrid[0:T, 0:S]

RULES = [
  ("full", masks.full(), np.ones((T, S), bool)),
  ("causal", masks.causal(), K <= Q),
  ("window", masks.sliding_window(3, 2), (Q - 3 <= K) & (K <= Q + 2)),
  ("window_left_only", masks.sliding_window(2), (Q - 2 <= K) & (K <= Q)),
  ("prefix", masks.prefix(5), K < 5),
  ("lengths", masks.lengths(query=7, key=5), (Q < 7) & (K < 5)),
  ("dilated", masks.dilated(3), (Q - K) % 3 == 0),
  ("chunked", masks.chunked(4), Q // 4 == K // 4),
  ("dense", masks.dense((Q * K) % 3 == 1), (Q * K) % 3 == 1),
  ("from_fn", masks.from_fn(lambda b, h, q, k: q * k > 9), Q * K > 9),
  (
    "segments",
    masks.segments(np.arange(T) // 3, np.arange(S) // 4),
    Q // 3 == K // 4,
  ),
]


class MaskTest(parameterized.TestCase):
  @parameterized.named_parameters(*RULES)
  def test_means_its_formula(self, mask, expected):
    np.testing.assert_array_equal(mask.dense(T, S)[0], expected)

  @parameterized.named_parameters(*RULES)
  def test_picture_shows_it(self, mask, expected):
    rows = mask.picture(T, S).split("\n")
    seen = np.array([[c == "█" for c in r.split(" ")] for r in rows])
    np.testing.assert_array_equal(seen, expected)

  @parameterized.named_parameters(*RULES)
  def test_pointwise_equals_dense(self, mask, expected):
    for q, k in ((0, 0), (2, 7), (10, 12), (6, 4)):
      assert bool(mask(0, 0, q, k)) == expected[q, k]

  @parameterized.named_parameters(*RULES)
  def test_is_a_pytree_under_jit(self, mask, expected):
    seen = jax.jit(lambda m: m.dense(T, S)[0])(mask)
    np.testing.assert_array_equal(seen, expected)
    leaves, tree = jax.tree.flatten(mask)
    chex.assert_trees_all_equal(jax.tree.unflatten(tree, leaves), mask)

  @parameterized.named_parameters(*RULES)
  def test_tiles_never_lie(self, mask, expected):
    for q0, q1, k0, k1 in _tiles():
      _check_tile(mask, expected, q0, q1, k0, k1)

  @parameterized.named_parameters(
    ("causal", masks.causal()),
    ("window", masks.sliding_window(3, 2)),
    ("chunked", masks.chunked(4)),
    ("lengths", masks.lengths(key=5)),
    ("prefix", masks.prefix(5)),
    ("both", masks.causal() & masks.sliding_window(2)),
    ("not", ~masks.causal()),
    ("either", masks.prefix(3) | masks.causal()),
  )
  def test_decides_every_tile_that_is_plainly_empty_or_full(self, mask):
    dense = np.asarray(mask.dense(T, S)[0])
    for q0, q1, k0, k1 in ((0, 2, 11, 13), (9, 11, 0, 2), (5, 7, 5, 7)):
      part = dense[q0:q1, k0:k1]
      tile = mask.tile((q0, q1), (k0, k1))
      if not part.any():
        assert tile is Tile.EMPTY
      if part.all():
        assert tile is Tile.FULL


def _tiles():
  edges = [(0, 1), (0, 4), (3, 4), (4, 8), (2, 9), (8, 11)]
  return [(*q, *k) for q in edges for k in [*edges, (11, 13)]]


def _check_tile(mask, dense, q0, q1, k0, k1):
  part = dense[q0:q1, k0:k1]
  tile = mask.tile((q0, q1), (k0, k1))
  if tile is Tile.EMPTY:
    assert not part.any(), (q0, q1, k0, k1)
  if tile is Tile.FULL:
    assert part.all(), (q0, q1, k0, k1)


MAKE = {
  "full": masks.full,
  "causal": masks.causal,
  "window": masks.sliding_window,
  "dilated": masks.dilated,
  "chunked": masks.chunked,
  "prefix": masks.prefix,
  "lengths": masks.lengths,
  "and": lambda a, b: _make(a) & _make(b),
  "or": lambda a, b: _make(a) | _make(b),
  "not": lambda a: ~_make(a),
}


def _make(expression):
  name, *arguments = expression
  return MAKE[name](*arguments)


def _expressions():
  """Descriptions of masks: `_make` makes the mask outside of the drawing."""
  small = st.integers(0, 5)
  leaf = st.one_of(
    st.just(("full",)),
    st.just(("causal",)),
    st.tuples(st.just("window"), small, small),
    st.tuples(st.just("dilated"), st.integers(1, 4)),
    st.tuples(st.just("chunked"), st.integers(1, 6)),
    st.tuples(st.just("prefix"), st.integers(0, 9)),
    st.tuples(st.just("lengths"), small, small),
  )
  return st.recursive(
    leaf,
    lambda m: st.one_of(
      st.tuples(st.sampled_from(["and", "or"]), m, m),
      st.tuples(st.just("not"), m),
    ),
    max_leaves=4,
  )


@hypothesis.settings(max_examples=40, deadline=None)
@hypothesis.given(_expressions(), _expressions())
def test_algebra_is_exact_and_its_tiles_never_lie(a, b):
  a, b = _make(a), _make(b)
  x, y = (np.asarray(m.dense(T, S)[0]) for m in (a, b))
  for mask, expected in ((a & b, x & y), (a | b, x | y), (~a, ~x)):
    np.testing.assert_array_equal(mask.dense(T, S)[0], expected)
    for tile in _tiles():
      _check_tile(mask, expected, *tile)


def test_tiles_of_many_at_once_equal_one_at_a_time():
  from attnjax.ops.grid import Area

  mask = (masks.causal() & ~masks.dilated(2)) | masks.chunked(3)
  q0, k0 = (x.ravel() for x in np.mgrid[0:12:4, 0:12:4])
  area = Area(*(((x, x + 3)) for x in (q0, k0, q0, k0)))
  some, every = (np.broadcast_to(x, q0.shape) for x in mask.decide(area))
  for i, (q, k) in enumerate(zip(q0.tolist(), k0.tolist(), strict=True)):
    tile = mask.tile((q, q + 4), (k, k + 4))
    expected = {(False, False): Tile.EMPTY, (True, True): Tile.FULL}
    assert tile is expected.get((bool(some[i]), bool(every[i])), Tile.MIXED)


def test_rows_of_a_batch_have_their_own_lengths():
  mask = masks.lengths(key=jnp.array([2, 0, 3]))
  seen = mask.dense(1, 3, batch=(3,))[:, 0, 0]
  assert seen.tolist() == [[1, 1, 0], [0, 0, 0], [1, 1, 1]]


def test_lengths_traced_are_undecided_and_known_are_decided():
  assert masks.lengths(key=2).tile((0, 1), (2, 3)) is Tile.EMPTY

  @jax.jit
  def tile_inside(n):
    assert masks.lengths(key=n).tile((0, 1), (2, 3)) is Tile.MIXED
    return n

  tile_inside(2)


def test_positions_outside_are_of_no_segment():
  mask = masks.segments(jnp.zeros(3, jnp.int32))
  assert not mask(0, 0, 3, 3)
  assert not mask(0, 0, -1, -1)
  assert mask(0, 0, 2, 0)


def test_captured_arrays_vmap():
  def row(n):
    return masks.prefix(n).dense(1, 4)[0, 0]

  seen = jax.vmap(row)(jnp.array([1, 3]))
  assert seen.tolist() == [[1, 0, 0, 0], [1, 1, 1, 0]]


@pytest.mark.parametrize(
  ("make", "words"),
  [
    (lambda: masks.sliding_window(-1), "left must be a Python int >= 0"),
    (lambda: masks.dilated(0), "stride must be a Python int >= 1"),
    (lambda: masks.chunked(1.5), "size must be a Python int >= 1"),
    (lambda: masks.dense(np.ones((2, 2))), "expected a boolean array"),
    (lambda: masks.lengths(key=2.0), "key must be integers"),
    (lambda: masks.segments(3), "at least 1 axes"),
  ],
)
@pytest.mark.usefixtures("as_a_user")
def test_bad_hyper_parameters_are_refused(make, words):
  with pytest.raises(ValueError, match=words):
    make()
