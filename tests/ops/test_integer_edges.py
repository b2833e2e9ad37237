"""Masks at both ends of int32: as in whole numbers without an end."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import attnjax
from attnjax import masks, parallel
from attnjax.masks import Tile
from attnjax.ops.grid import Area

LEAST, MOST = -(2**31), 2**31 - 1
WIDE = 2**30
EDGES = [LEAST, LEAST + 1, LEAST + 5, -WIDE - 1, -1, 0, 1, 2, 5, WIDE]
EDGES = np.array([*EDGES, MOST - 4, MOST - 1, MOST], np.int32)
# Each with its formula, asked with int64.
RULES = {
  "causal": (masks.causal(), lambda q, k: k <= q),
  "window": (masks.sliding_window(3, 2), lambda q, k: q - 3 <= k <= q + 2),
  "widest": (
    masks.sliding_window(WIDE, WIDE),
    lambda q, k: q - WIDE <= k <= q + WIDE,
  ),
  "left": (masks.sliding_window(WIDE), lambda q, k: q - WIDE <= k <= q),
  "dilated": (masks.dilated(3), lambda q, k: (q - k) % 3 == 0),
  "dilated 1": (masks.dilated(1), lambda q, k: True),
  "dilated widest": (masks.dilated(WIDE), lambda q, k: (q - k) % WIDE == 0),
  "chunked": (masks.chunked(7), lambda q, k: q // 7 == k // 7),
  "chunked widest": (masks.chunked(WIDE), lambda q, k: q // WIDE == k // WIDE),
  "prefix": (masks.prefix(MOST), lambda q, k: k < MOST),
  "prefix of none": (masks.prefix(LEAST), lambda q, k: False),
  "composed": (
    (masks.causal() & masks.dilated(2)) | ~masks.sliding_window(WIDE, 9),
    lambda q, k: (k <= q and (q - k) % 2 == 0) or not q - WIDE <= k <= q + 9,
  ),
}


def truth(formula, queries, keys):
  """The formula of every pair, in Python's integers."""
  pairs = [[formula(q, k) for k in keys.tolist()] for q in queries.tolist()]
  return np.array(pairs)


@pytest.mark.parametrize("name", RULES)
def test_a_rule_is_exact_at_both_ends_of_int32(name):
  mask, formula = RULES[name]
  expected = truth(formula, EDGES, EDGES)
  for q, k in ((EDGES, EDGES), (jnp.asarray(EDGES), jnp.asarray(EDGES))):
    seen = mask(0, 0, q[:, None], k[None])
    np.testing.assert_array_equal(
      np.broadcast_to(seen, expected.shape), expected
    )


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("traced", [False, True])
def test_a_tile_at_an_end_of_int32_is_told_no_lie(name, traced):
  mask, formula = RULES[name]
  for size in (1, 2, 5):
    blocks = [EDGES[i : i + size] for i in range(0, len(EDGES), size)]
    first, last = (np.array([b[i] for b in blocks]) for i in (0, -1))
    query = first[None, :, None], last[None, :, None]
    key = first[None, None], last[None, None]
    area = Area(query, key, query, key)
    decide = jax.jit(mask.decide) if traced else mask.decide
    shape = (len(blocks), len(blocks))
    some, every = (np.broadcast_to(x, (1, *shape))[0] for x in decide(area))
    for i, j in np.ndindex(shape):
      part = truth(formula, blocks[i], blocks[j])
      assert some[i, j] | ~part.any(), (blocks[i], blocks[j])
      assert ~every[i, j] | part.all(), (blocks[i], blocks[j])


def test_a_range_up_to_the_last_position_is_no_empty_tile():
  causal, window = masks.causal(), masks.sliding_window(2)
  assert causal.tile((MOST, MOST + 1), (0, MOST + 1)) is Tile.FULL
  assert causal.tile((LEAST, LEAST + 1), (LEAST + 1, 0)) is Tile.EMPTY
  assert window.tile((LEAST, LEAST + 1), (LEAST, LEAST + 1)) is Tile.FULL
  assert window.tile((MOST, MOST + 1), (LEAST, 0)) is Tile.EMPTY
  assert causal.tile((5, 5), (0, 9)) is Tile.EMPTY
  with pytest.raises(
    ValueError, match="key_range must be within the positions"
  ):
    causal.tile((0, 4), (0, 2**40))


def read(mask, q, k, implementation):
  """What each query reads of values that count the keys."""
  ones = lambda n: jnp.ones((n, 1, 1))
  value = jnp.arange(1.0, len(k) + 1).reshape(-1, 1, 1)
  return attnjax.attend(
    ones(len(q)),
    ones(len(k)),
    value,
    mask=mask,
    query_positions=q,
    key_positions=k,
    implementation=implementation,
  )[:, 0, 0]


def average(formula, q, k):
  """The same by the formula."""
  seen = truth(formula, q, k)
  values = np.arange(1.0, len(k) + 1)
  return (seen * values).sum(1) / np.maximum(seen.sum(1), 1)


@pytest.mark.parametrize("name", ["causal", "widest", "dilated", "composed"])
def test_attention_at_both_ends_of_int32(name):
  mask, formula = RULES[name]
  expected = average(formula, EDGES, EDGES)
  for implementation in ("reference", attnjax.Blockwise(2, 2)):
    found = read(mask, EDGES, EDGES, implementation)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_pads_at_the_ends_of_int32_in_blocks_of_the_default_size():
  keys = np.arange(4096, dtype=np.int32)
  keys[-1], keys[7] = MOST, LEAST
  queries = np.array([0, 5, 4094, MOST], np.int32)
  for name in ("causal", "left"):
    mask, formula = RULES[name]
    found = read(mask, queries, keys, None)
    expected = average(formula, queries, keys)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32"])
def test_positions_of_every_integer_type(dtype):
  limits = np.iinfo(dtype)
  at = np.array([limits.min, 0, 3, limits.max - 1, limits.max], dtype)
  mask, formula = RULES["window"]
  mask, of = (
    mask | masks.dilated(200),
    lambda q, k: formula(q, k) or (q - k) % 200 == 0,
  )
  seen = mask(0, 0, at[:, None], at[None])
  np.testing.assert_array_equal(seen, truth(of, at, at))
  for implementation in ("reference", attnjax.Blockwise(2, 2)):
    found = read(mask, at, at, implementation)
    np.testing.assert_allclose(found, average(of, at, at), rtol=1e-5)


@pytest.mark.slow
def test_divided_tokens_at_both_ends_of_int32():
  q = k = np.array([LEAST, LEAST + 1, 0, 1, 2, 3, MOST - 1, MOST], np.int32)
  mesh = parallel.make_mesh(jax.devices()[:2], sequence=2)
  ring = parallel.RingAttention(mesh, "sequence")
  x, value = jnp.ones((8, 1, 1)), jnp.arange(1.0, 9).reshape(-1, 1, 1)
  for name in ("causal", "window"):
    mask, formula = RULES[name]
    for q_, k_ in ((q, k), (jnp.asarray(q), jnp.asarray(k))):
      found = ring(x, x, value, mask=mask, query_positions=q_, key_positions=k_)
      expected = average(formula, q, k)
      np.testing.assert_allclose(found[:, 0, 0], expected, rtol=1e-5)


def test_a_window_may_be_a_number_of_numpy():
  mask = masks.sliding_window(np.int64(2), np.int8(1))
  assert mask.picture(4, 4) == masks.sliding_window(2, 1).picture(4, 4)
