"""A table of positions that does not cover a call has no answer to give."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import attnjax
from attnjax import cache, masks, nn

T = 6
TRI = np.tri(T, dtype=bool)
REAL = np.arange(T) >= np.array([[2], [0]])
LEFT = (np.cumsum(REAL, -1) - 1).astype(np.int32)  # pads stand at -1
SMALL = attnjax.Blockwise(2, 2)
EVERY = ("reference", SMALL, None)


@pytest.fixture
def x(key):
  return jax.random.normal(key, (2, T, 1, 3))


def read(x, mask, at=None, implementation=None, **options):
  return attnjax.attend(
    x,
    x,
    x,
    mask=mask,
    query_positions=at,
    key_positions=at,
    implementation=implementation,
    **options,
  )


SMALLER = {
  "rows": (masks.dense(TRI[:3]), None),
  "columns": (masks.dense(TRI[:, :3]), None),
  "B S": (masks.dense(REAL), None),
  "later positions": (masks.dense(TRI), np.arange(15, 15 + T)),
  "negative": (~masks.dense(TRI), np.arange(-1, T - 1)),
  "left padding": (masks.causal() & masks.dense(REAL[:, None, None]), LEFT),
  "ids": (masks.causal() & masks.segments(REAL.astype(int)), LEFT),
  "too few ids": (masks.segments([0, 0, 1]), None),
}


@pytest.mark.parametrize("name", SMALLER)
def test_it_is_refused_where_positions_are_known(x, name):
  mask, at = SMALLER[name]
  words = "looked up by position, and has"
  for places in (at, None if at is None else jnp.asarray(at)):
    with pytest.raises(ValueError, match=words):
      read(x, mask, places)
    with pytest.raises(ValueError, match=words):
      jax.jit(lambda y, at=places: read(y, mask, at))(x)
  remedy = "query_segment_ids=" if "ids" in name else "causal\\(\\) & array"
  with pytest.raises(ValueError, match=remedy):
    read(x, mask, at)


def test_it_is_refused_by_its_shape_where_the_table_is_traced(x):
  with pytest.raises(ValueError, match=r"dense\(bool\[3,6\]\)"):
    jax.jit(lambda t: read(x, masks.causal() & masks.dense(t)))(TRI[:3])


@pytest.mark.parametrize("implementation", EVERY)
def test_rows_without_an_answer_are_nan_where_positions_are_traced(
  x, implementation
):
  mask = masks.causal() & masks.dense(TRI)

  @jax.jit
  def run(at):
    out, aux = read(x, mask, at, implementation, aux=("logsumexp",))
    return out, aux.logsumexp

  at = np.arange(T, dtype=np.int32)
  expected = read(x, masks.causal())
  np.testing.assert_allclose(run(at)[0], expected, atol=1e-5)
  out, logsumexp = run(at + 2)  # the last two are outside
  lost = at + 2 >= T
  np.testing.assert_array_equal(jnp.isnan(out).all((0, 2, 3)), lost)
  np.testing.assert_array_equal(jnp.isnan(logsumexp).all((0, 1)), lost)
  assert jnp.isfinite(out[:, ~lost]).all()


@pytest.mark.slow
def test_a_pair_that_another_rule_hides_needs_no_entry(x):
  real = REAL[:, None, None, :]
  mask = masks.causal() & real & masks.dense(TRI)
  expected = read(x, masks.causal() & real, LEFT)
  np.testing.assert_array_equal(read(x, mask, LEFT), expected)
  short = masks.dense(TRI[:, :3])
  expected = read(x, masks.causal() & masks.lengths(key=3))
  for implementation in EVERY:
    found = read(x, masks.lengths(key=3) & short, None, implementation)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    traced = jax.jit(
      lambda n, one=implementation: read(
        x, masks.lengths(key=n) & short, None, one
      )
    )
    np.testing.assert_allclose(traced(3), expected, atol=1e-5)
    assert jnp.isnan(traced(4)[:, 3:]).all()


@pytest.mark.slow
def test_empty_slots_of_a_cache_need_no_entry():
  layer = nn.MultiHeadAttention(4, heads=2, rngs=nnx.Rngs(0))
  x = jax.random.normal(jax.random.key(1), (2, T, 4))
  table = np.tri(T + 1, dtype=bool)

  def run(x):
    state, outs = cache.init((2,), capacity=T + 3, heads=2, width=2), []
    for i in range(0, T, 3):
      out, state = layer.decode(x[:, i : i + 3], state, mask=masks.dense(table))
      outs.append(out)
    return jnp.concatenate(outs, 1)

  expected = layer(x, mask=masks.causal())
  np.testing.assert_allclose(run(x), expected, atol=1e-5)
  np.testing.assert_allclose(jax.jit(run)(x), expected, atol=1e-5)


def test_it_is_not_drawn_beyond_its_ends():
  for mask in (masks.dense(TRI), masks.segments(np.zeros(T, int))):
    assert len(mask.picture(2, T).split("\n")) == 2
    for show in (mask.picture, mask.dense):
      with pytest.raises(ValueError, match="queries stand at 0 to 6"):
        show(T + 1, T)
