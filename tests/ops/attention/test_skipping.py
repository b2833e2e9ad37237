"""Tiles that hold nothing are not computed, whatever says that they do not.

The proof is a poison: keys and values of NaN where no query looks. 0 · NaN is
NaN, so a finite result, forward and backward, has not touched their tiles.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import attnjax
from attnjax import masks
from attnjax.ops.attention.block_sizes import Blocks
from attnjax.ops.attention.live_tiles import live_tiles
from attnjax.ops.attention.logits import Rules

T, H, D, BLOCK = 32, 2, 4, 8
ENGINE = attnjax.Blockwise(query_block=BLOCK, key_block=BLOCK)
INDEX = np.arange(T)
IDS = jnp.asarray(INDEX // 16)


def half(b, h, q, k):
  """The first half of the keys."""
  return k < T // 2


def first(b, h, q, k, n):
  """The first n keys."""
  return k < n


def says(query, key):
  """What `half` is of a tile."""
  return key[0] < T // 2, key[1] < T // 2


# Each hides the keys of the second half from the queries of the first.
HIDES = {
  "causal": {"mask": masks.causal()},
  "window": {"mask": masks.sliding_window(5, 0)},
  "prefix": {"mask": masks.prefix(16)},
  "chunked": {"mask": masks.chunked(16)},
  "lengths": {"mask": masks.lengths(key=16)},
  "segments": {"mask": masks.segments(IDS)},
  "dense": {"mask": masks.dense(INDEX[:, None] >= INDEX)},
  "array": {"mask": jnp.asarray(INDEX[:, None] >= INDEX)},
  "and": {"mask": masks.full() & masks.causal()},
  "or": {"mask": masks.causal() | masks.prefix(16)},
  "not": {
    "mask": ~masks.sliding_window(T, 0) & masks.causal() | masks.causal()
  },
  "not of arrays": {"mask": ~(~masks.lengths(key=16))},
  "function": {"mask": masks.from_fn(half)},
  "function of arrays": {"mask": masks.from_fn(first, np.int32(16))},
  "function and its tiles": {"mask": masks.from_fn(half, decide=says)},
  "segment ids": {"query_segment_ids": IDS, "key_segment_ids": IDS},
  "positions": {
    "mask": masks.causal(),
    "query_positions": jnp.asarray(INDEX),
    "key_positions": jnp.asarray(INDEX),
  },
}


@pytest.fixture
def qkv(key):
  return [jax.random.normal(k, (T, H, D)) for k in jax.random.split(key, 3)]


def early(q, k, v, **options):
  """What the first half of the queries read."""
  out = attnjax.attend(q, k, v, implementation=ENGINE, **options)
  return out[: T // 2]


# Of each way in which tiles become known: by rules, tables, ids and positions.
DEFAULT = {
  *(("causal", False), ("prefix", False), ("function", False)),
  *(("dense", False), ("positions", False), ("segments", True)),
  *(("lengths", True), ("or", True), ("not of arrays", True)),
  *(("function of arrays", True), ("array", True)),
}


def known_and_traced():
  """Each, known while it is traced and not, most of them slow."""
  for name in HIDES:
    for traced in (False, True):
      marks = [] if (name, traced) in DEFAULT else [pytest.mark.slow]
      identity = f"{name}-{'traced' if traced else 'known'}"
      yield pytest.param(name, traced, id=identity, marks=marks)


@pytest.mark.parametrize(("name", "traced"), list(known_and_traced()))
def test_what_is_hidden_is_not_touched(qkv, name, traced):
  q, k, v = qkv
  bad_k, bad_v = (x.at[T // 2 :].set(jnp.nan) for x in (k, v))

  def f(q, options):
    return (early(q, bad_k, bad_v, **options) ** 2).sum()

  def g(q, options):
    return jax.jvp(lambda q: early(q, bad_k, bad_v, **options), (q,), (q,))

  def run(options):
    clean = (early(q, k, v, **options) ** 2).sum()
    return jax.value_and_grad(f)(q, options), g(q, options), clean

  # The options are an argument of the program, or are known while it is traced.
  options = HIDES[name]
  known = jax.jit(lambda: run(options))
  (value, slope), pushed, clean = jax.jit(run)(options) if traced else known()
  assert np.isfinite(value)
  assert np.isfinite(slope[: T // 2]).all()
  assert all(np.isfinite(x).all() for x in pushed)
  np.testing.assert_allclose(value, clean, rtol=1e-5)


def test_a_rule_that_says_nothing_of_tiles_is_still_right(qkv):
  rule = masks.from_fn(half, tiles="never")
  args = {"mask": rule}
  got = attnjax.attend(*qkv, implementation=ENGINE, **args)
  expected = attnjax.attend(*qkv, implementation="reference", **args)
  np.testing.assert_allclose(got, expected, atol=1e-6)


@pytest.mark.parametrize(
  ("rule", "live", "whole"),
  [
    (masks.causal(), 10, 6),
    (masks.sliding_window(7, 0), 7, 0),
    (masks.causal() & masks.prefix(BLOCK), 4, None),
    (masks.full(), 16, 16),
    (masks.chunked(16), 8, 8),
    (masks.from_fn(half), 8, 8),
    (masks.neighborhood(T, 3), 10, 0),
    (~masks.full(), 0, 0),
  ],
  ids=[
    "causal",
    "window",
    "prefix",
    "full",
    "chunked",
    "function",
    "neighborhood",
    "nothing",
  ],
)
def test_explain_counts_the_tiles(qkv, rule, live, whole):
  q, k, v = qkv
  call = attnjax.ops.attention.arguments.checked_call(q, k, v, {"mask": rule})
  told = ENGINE.describes(call)
  if rule.is_static:
    assert f"{live} of 16 hold something, {whole} whole" in told
  else:
    assert "decided when it runs" in told


def test_under_vmap_a_branch_is_still_a_branch(qkv):
  """Of a batch of lengths a tile is skipped where it is empty for all."""
  q, k, v = (jnp.stack([x, x]) for x in qkv)
  bad = k.at[:, T // 2 :].set(jnp.nan)

  def one(q, k, v, length):
    return early(q, k, v, mask=masks.lengths(key=length))

  out = jax.vmap(one)(q, bad, jnp.nan_to_num(v), jnp.array([3, 16]))
  assert jnp.isfinite(out).all()
  clean = jax.vmap(one)(q, k, v, jnp.array([3, 16]))
  np.testing.assert_allclose(out, clean, atol=1e-6)


@pytest.mark.parametrize(
  ("mask", "positions", "count"),
  [
    (masks.causal(), None, 10),
    (masks.causal() & masks.lengths(key=IDS[:1]), None, 10),
    (masks.causal(), INDEX[None], 16),  # they may stand anywhere
    (None, None, 16),
  ],
)
def test_what_is_hidden_while_tracing_is_not_listed(mask, positions, count):
  blocks, listed = Blocks(1, H, BLOCK, BLOCK), []

  def tiles(ids):
    rules = Rules(mask=mask, query_segment_ids=ids, key_segment_ids=ids)
    given = None if positions is None else jnp.asarray(positions)
    found = live_tiles((1, H, T, T), blocks, rules, given, given)
    listed.append(len(found.tiles))
    return found.codes

  jax.eval_shape(tiles, IDS[None])
  assert listed == [count]
