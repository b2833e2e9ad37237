"""What is wrong has no answer: it raises where it is known, else it is NaN."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import attnjax
from attnjax import masks
from attnjax.ops.integers import int32, labels, narrowed
from attnjax.ops.recurrent import GRUParams, gru_scan
from attnjax.ops.value_checks import poison, refuse

# Two documents, whose ids are one in their lower 32 bits.
WIDE = np.array([5] * 4 + [5 + 2**32] * 3)


def tokens(*batch, length=7):
  shape = (*batch, length, 1, 4)
  return jax.random.normal(jax.random.key(0), shape, jnp.float32)


def nan_rows(x):
  """Which rows are NaN, and that no row is so in part."""
  nan = np.isnan(x).reshape((*x.shape[:-2], -1))
  assert (nan.all(-1) == nan.any(-1)).all()
  return nan.all(-1)


def test_a_wrong_value_raises_also_where_a_jitted_function_closes_over_it():
  wrong = jnp.array([1, -1])
  negative = lambda x: x < 0
  error = lambda x: ValueError(f"got {x.tolist()}")
  with pytest.raises(ValueError, match=r"got \[1, -1\]"):
    jax.jit(lambda: refuse(negative, error, wrong))()
  right = jnp.array([1, 0])
  assert jax.jit(lambda: refuse(negative, error, right))() is None


def test_poison_is_nan_in_value_and_in_gradient_and_nowhere_else():
  wrong = jnp.array([False, True, False])
  x = jnp.arange(6.0).reshape(3, 2)
  value, grad = jax.value_and_grad(lambda x: poison(x, wrong).sum())(x)
  assert np.isnan(value)
  assert np.isnan(grad).all(-1).tolist() == wrong.tolist()
  assert (grad[~wrong] == 1).all()


@pytest.mark.parametrize("side", ["query_positions", "key_positions"])
def test_traced_positions_that_do_not_fit_are_nan_in_their_rows(side):
  with jax.enable_x64(True):
    x, near = tokens(2), jnp.stack([jnp.arange(7)] * 2)
    far = near.at[1, 3].set(2**31)
    call = lambda p: attnjax.attend(
      x, x, x, mask=masks.causal(), aux=("logsumexp",), **{side: p}
    )
    right, _ = jax.jit(call)(near)
    out, aux = jax.jit(call)(far)
    expected = np.zeros((2, 7), bool)
    expected[1, [3] if side == "query_positions" else slice(None)] = True
    np.testing.assert_array_equal(nan_rows(out), expected)
    np.testing.assert_array_equal(np.isnan(aux.logsumexp)[:, 0], expected)
    np.testing.assert_array_equal(out[~expected], right[~expected])
    with pytest.raises(ValueError, match=f"{side} must fit 32 bits"):
      call(far)


def test_wide_segment_ids_that_differ_above_32_bits_are_different():
  with jax.enable_x64(True):
    x, ids = tokens(), jnp.asarray(WIDE)
    by_index = lambda i: attnjax.attend(
      x, x, x, query_segment_ids=i, key_segment_ids=i
    )
    by_mask = lambda i: attnjax.attend(x, x, x, mask=masks.segments(i))
    mixed = lambda i: attnjax.attend(
      x, x, x, query_segment_ids=i, key_segment_ids=np.int32([5] * 7)
    )
    right = by_index(np.int32(WIDE != 5))
    for call in (by_index, by_mask):
      for found in (call(ids), jax.jit(call)(ids)):
        np.testing.assert_allclose(found, right, atol=1e-6)
    assert (jax.jit(mixed)(ids)[4:] == 0).all()


def test_ids_without_an_integer_dtype_in_common_are_refused():
  one, other = np.uint32([0, 2**32 - 1]), np.int32([0, -1])
  call = lambda x, y: labels(("a", "b"), x, y)
  for of in (call, jax.jit(call)):
    with pytest.raises(ValueError, match="one integer dtype, got uint32"):
      of(one, other)
  same = jax.jit(lambda x: call(x, x)[0])(one)
  assert same.dtype == np.uint32


@pytest.mark.parametrize("dtype", [np.uint32, np.int64, np.uint64])
def test_a_traced_integer_that_does_not_fit_is_out_of_range_still(dtype):
  with jax.enable_x64(True):
    edges = [0, 2**31 - 1, 2**31, np.iinfo(dtype).max, np.iinfo(dtype).min]
    x = np.array(edges, dtype)
    found, wrong = jax.jit(lambda x: narrowed("x", x))(x)
    info = np.iinfo(np.int32)
    right = np.clip(x.astype(object), info.min, info.max).astype(np.int32)
    np.testing.assert_array_equal(found, right)
    np.testing.assert_array_equal(wrong, right.astype(object) != x)
    np.testing.assert_array_equal(jax.jit(lambda x: int32("x", x))(x), right)


def test_weights_of_queries_that_are_not_there():
  x = tokens(2)
  rows = lambda r: attnjax.attention_weights(x, x, queries=r)
  found = jax.jit(rows)(jnp.array([-1, 7, 2, -8]))
  nan = np.isnan(found[:, 0])
  assert nan.all(-1).tolist() == [[False, True, False, True]] * 2
  whole = rows(None)
  np.testing.assert_allclose(found[:, 0, 0], whole[:, 0, -1], atol=1e-6)
  captured, outside = jnp.array([-1]), jnp.array([7])
  last = jax.jit(lambda x: attnjax.attention_weights(x, x, queries=captured))
  np.testing.assert_allclose(last(x)[:, 0, 0], whole[:, 0, -1], atol=1e-6)
  with pytest.raises(ValueError, match="within the T=7 there are, got"):
    jax.jit(lambda: rows(outside))()


@pytest.mark.parametrize("bad", [-0.5, np.inf, np.nan])
def test_a_gate_out_of_range_leaves_its_head_without_an_answer(bad):
  x = jax.random.normal(jax.random.key(1), (2, 7, 3, 4), jnp.float32)
  half = jnp.full((2, 7, 3), 0.5)
  rate = half.at[1, 5, 2].set(bad)
  rule = attnjax.memory.delta_net()
  state = attnjax.memory.init(rule, (2,), heads=3, width=4)

  def stream(rate):
    return attnjax.memory.stream(
      state, x, x, x, attnjax.memory.Gates(rate=rate)
    )

  with pytest.raises(ValueError, match="rate must be finite and"):
    stream(rate)
  with pytest.raises(ValueError, match="rate must be finite and"):
    jax.jit(lambda: stream(rate))()
  right_state, right = jax.jit(lambda: stream(half))()
  new, out = jax.jit(stream)(rate)
  wrong = np.zeros((2, 3), bool)
  wrong[1, 2] = True
  by_head = np.moveaxis(np.asarray(out), 1, 2)
  assert np.isnan(by_head[wrong]).all()
  np.testing.assert_allclose(
    by_head[~wrong], np.moveaxis(np.asarray(right), 1, 2)[~wrong], atol=1e-5
  )
  for name, w in new.weights.items():
    assert np.isnan(w[wrong]).all()
    np.testing.assert_allclose(
      w[~wrong], right_state.weights[name][~wrong], rtol=1e-5, atol=1e-5
    )
  captured = attnjax.memory.Gates(rate=half)
  write = jax.jit(lambda k: attnjax.memory.write(state, k, k, captured))
  np.testing.assert_allclose(
    write(x).weights["map_0"], right_state.weights["map_0"], atol=1e-5
  )


def test_a_length_out_of_range_leaves_its_row_without_an_answer():
  draw = lambda *s: jax.random.normal(jax.random.key(2), s, jnp.float32)
  params = GRUParams(draw(5, 3, 2), draw(2, 3, 2), draw(3, 2), draw(3, 2))
  x = draw(3, 7, 5)
  run = jax.jit(lambda n: gru_scan(params, x, lengths=n))
  states, last = run(jnp.array([7, 8, -1]))
  assert np.isnan(states).all((1, 2)).tolist() == [False, True, True]
  assert np.isnan(last).all(1).tolist() == [False, True, True]
  np.testing.assert_allclose(states[0], gru_scan(params, x)[0][0], atol=1e-6)
  with pytest.raises(ValueError, match="lengths must be within 0 and the 7"):
    gru_scan(params, x, lengths=jnp.array([7, 8, -1]))


@pytest.mark.parametrize("bad", [0.0, -1.0, np.inf])
def test_a_traced_temperature_out_of_range_has_no_answer(bad):
  x = tokens()
  for make in (attnjax.scoring.cosine, attnjax.scoring.gaussian):
    call = lambda t, make=make: attnjax.attend(x, x, x, scoring=make(t))
    with pytest.raises(ValueError, match="must be positive and finite"):
      call(bad)
    assert np.isnan(jax.jit(call)(bad)).all()
    assert np.isfinite(jax.jit(call)(0.5)).all()
    built = jax.tree.map(lambda _, bad=bad: bad, make(1.0))
    with pytest.raises(ValueError, match="must be positive and finite"):
      attnjax.attend(x, x, x, scoring=built)
  for normalizer in ("softmax", "sigmoid", "none", "hard"):
    glimpse = lambda t, n=normalizer: attnjax.glimpse(
      x[:, 0], x[:, 0], temperature=t, normalizer=n
    )
    with pytest.raises(ValueError, match="temperature must be above 0"):
      glimpse(bad)
    assert np.isnan(jax.jit(glimpse)(bad)).all()


def test_a_learned_position_beyond_32_bits_is_no_other():
  with jax.enable_x64(True):
    table = jnp.ones((3, 2), jnp.float32)
    rows = jax.jit(lambda p: attnjax.positions.learned(table, p))
    found = rows(jnp.array([2, 2**32, 2**32 + 1, -(2**32)]))
  assert np.isnan(found).all(-1).tolist() == [False, True, True, True]
