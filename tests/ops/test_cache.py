"""A cache is a value: however it was filled, it says the same."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import attnjax
from attnjax import cache, masks
from attnjax.ops import cache as internals
from tests.drawn import arrays

B, T, H, K, D, E, C = 3, 11, 4, 2, 5, 7, 13
append, roll = jax.jit(cache.append), jax.jit(cache.roll)


@pytest.fixture(scope="module")
def stream():
  """Queries, keys and values of T tokens."""
  drawn = arrays((B, T, H, D), (B, T, K, D), (B, T, K, E))
  return [np.asarray(x) for x in drawn]


def empty(capacity=C, batch=(B,)):
  return cache.init(batch, capacity, K, D, value_width=E)


def same(a, b):
  """Two caches hold the same, bit for bit."""
  for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
    np.testing.assert_array_equal(x, y)


def test_token_by_token_equals_all_at_once(stream):
  _, k, v = stream
  step = empty()
  for t in range(T):
    step = append(step, k[:, t : t + 1], v[:, t : t + 1])
  same(step, append(empty(), k, v))
  np.testing.assert_array_equal(np.asarray(step.key)[:, :T], k)
  np.testing.assert_array_equal(np.asarray(step.value)[:, :T], v)
  assert (np.asarray(step.key)[:, T:] == 0).all()


def test_a_cache_is_a_carry_of_scan(stream):
  _, k, v = stream
  each = [np.moveaxis(x, 1, 0)[:, :, None] for x in (k, v)]
  put = lambda state, kv: (cache.append(state, *kv), state.length)
  final, lengths = jax.lax.scan(put, empty(), each)
  same(final, append(empty(), k, v))
  np.testing.assert_array_equal(np.asarray(lengths)[:, 0], np.arange(T))


def test_rows_have_their_own_lengths_and_padding_is_never_stored(stream):
  _, k, v = stream
  real = np.array([4, 0, 2], np.int32)
  pad = np.arange(4)[None, :, None, None] >= real[:, None, None, None]
  first = [np.where(pad, np.float32(np.nan), x[:, :4]) for x in (k, v)]
  state = append(empty(), *first, lengths=real)
  assert state.length.tolist() == [4, 0, 2]
  for b, n in enumerate(real.tolist()):
    assert (np.asarray(state.key)[b, n:] == 0).all()
  state = append(state, k[:, 4:7], v[:, 4:7])
  held = np.asarray(state.key)
  for b, n in enumerate(real.tolist()):
    expected = np.concatenate([k[b, :n], k[b, 4:7]])
    np.testing.assert_array_equal(held[b, : n + 3], expected)
    assert (held[b, n + 3 :] == 0).all()
  assert np.isfinite(state.value).all()


def test_an_overflow_that_is_known_is_an_error(stream):
  _, k, v = map(jnp.asarray, stream)
  state = append(empty(12), k, v)
  with pytest.raises(
    ValueError, match=r"13 positions do not fit the capacity of 12.*roll\(\)"
  ):
    cache.append(state, k[:, :2], v[:, :2])
  # One row alone is enough, and a row that adds nothing is not.
  cache.append(state, k[:, :2], v[:, :2], lengths=jnp.array([1, 0, 1]))
  with pytest.raises(ValueError, match="13 positions"):
    cache.append(state, k[:, :2], v[:, :2], lengths=jnp.array([0, 2, 0]))


def test_an_overflow_at_run_time_poisons_its_row_alone_and_for_good(stream):
  q, k, v = stream
  state = append(empty(12), k, v)
  lengths = np.array([1, 2, 0], np.int32)
  look = jax.jit(lambda q, k, v, mask: attnjax.attend(q, k, v, mask=mask))
  state = append(state, k[:, :2], v[:, :2], lengths=lengths)
  for _ in range(2):
    held = (state.key, state.value)
    out = np.asarray(look(q, *held, state.filled))
    assert np.isnan(out[1]).all()
    for x in map(np.asarray, (*held, out)):
      assert np.isfinite(x[[0, 2]]).all()
    lengths = np.array([0, 0, 1], np.int32)
    state = append(state, k[:, :2], v[:, :2], lengths=lengths)


def test_a_slot_holds_the_newest_position_of_its_kind():
  capacity = 5
  positions = jax.jit(lambda state: state.positions)
  filled = jax.jit(lambda state: state.filled.dense(1, capacity)[0, 0])
  empty_one = cache.init((), capacity, 1, 1)
  for length in range(2 * capacity + 3):
    state = dataclasses.replace(empty_one, length=jnp.int32(length))
    where = np.asarray(positions(state))
    for slot, p in enumerate(where.tolist()):
      assert p % capacity == slot
      assert length - capacity <= p < length
    seen = filled(state)
    np.testing.assert_array_equal(seen, where >= 0)


def test_roll_keeps_the_newest_of_many(stream):
  _, k, v = stream
  capacity = 4
  state = roll(empty(capacity), k, v)  # T > capacity
  where = np.asarray(state.positions)[0]
  assert sorted(where.tolist()) == [7, 8, 9, 10]
  np.testing.assert_array_equal(state.key, k[:, where])
  np.testing.assert_array_equal(state.value, v[:, where])
  step = empty(capacity)
  for t in range(T):
    step = roll(step, k[:, t : t + 1], v[:, t : t + 1])
  same(step, state)


@pytest.mark.parametrize("lengths", [None, [11, 3, 0], [4, 5, 6]])
def test_no_slot_is_written_twice(stream, monkeypatch, lengths):
  # Which of two writes wins is not defined, though on a CPU the last does.
  written = []
  watch = lambda held, slot, new: written.append(np.asarray(slot)) or held
  monkeypatch.setattr(internals, "_scatter", watch)
  _, k, v = map(jnp.asarray, stream)
  lengths = None if lengths is None else jnp.array(lengths)
  state = cache.roll(empty(4), k, v, lengths=lengths)
  for row, length in zip(written[0], state.length.tolist(), strict=True):
    kept = row[row < 4].tolist()
    assert len(set(kept)) == len(kept) == min(length, 4)


def test_gradients_reach_the_tokens_that_are_kept(stream):
  _, k, v = stream
  stored = lambda k: cache.roll(empty(4), k, jnp.asarray(v)).key.sum()
  grad = np.asarray(jax.jit(jax.grad(stored))(k))
  np.testing.assert_array_equal(grad[:, :7], 0)
  np.testing.assert_array_equal(grad[:, 7:], 1)


@functools.partial(jax.jit, static_argnames=("left", "store"))
def read(state, q, k, v, *, left, store):
  """Stores new tokens and lets them look back over a window."""
  where = state.next_positions(q.shape[1])
  state = store(state, k, v)
  out = attnjax.attend(
    q,
    state.key,
    state.value,
    mask=masks.sliding_window(left) & state.filled,
    query_positions=where,
    key_positions=state.positions,
  )
  return out, state


def read_all(state, stream, chunks, **kw):
  """Reads a stream chunk by chunk."""
  outs, start = [], 0
  for size in chunks:
    part = [x[:, start : start + size] for x in stream]
    out, state = read(state, *part, **kw)
    outs.append(out)
    start += size
  return outs


@pytest.mark.parametrize("chunks", [(3, 3, 1, 1, 3), (1,) * T])
@pytest.mark.parametrize("left", [0, 2])
def test_roll_equals_a_sliding_window_without_a_cache(stream, chunks, left):
  capacity = left + max(chunks)  # the least that is promised to do
  outs = read_all(empty(capacity), stream, chunks, left=left, store=cache.roll)
  attend = jax.jit(
    lambda *x: attnjax.attend(*x, mask=masks.sliding_window(left))
  )
  got = np.concatenate(outs, axis=1)
  np.testing.assert_allclose(got, attend(*stream), atol=1e-6)


def test_no_gradient_from_the_future_through_the_cache(stream):
  def out(k, v):
    q = stream[0][:, :9]
    return read_all(empty(), (q, k, v), (3, 3, 3), left=T, store=cache.append)

  # Inside the second chunk, whose whole is stored before it is read.
  second = lambda k, v: out(k, v)[1][:, 1].sum()
  k, v = (x[:, :9] for x in stream[1:])
  for grad in jax.jit(jax.grad(second, (0, 1)))(k, v):
    reach = np.abs(grad).max((0, 2, 3))
    np.testing.assert_array_equal(reach > 0, np.arange(9) <= 3 + 1)


def test_vmap_equals_a_batch(stream):
  _, k, v = stream
  real = np.array([11, 5, 0], np.int32)

  def fill(k, v, n):
    state = cache.append(empty(batch=()), k, v, lengths=n)
    return state, state.positions

  mapped, where = jax.jit(jax.vmap(fill))(k, v, real)
  batched = append(empty(), k, v, lengths=real)
  same(mapped, batched)
  np.testing.assert_array_equal(where, batched.positions)


def test_keys_are_stored_in_the_dtype_of_the_cache(stream):
  _, k, v = stream
  state = cache.init((B,), C, K, D, value_width=E, dtype=jnp.bfloat16)
  state = append(state, k, v)
  assert state.key.dtype == state.value.dtype == jnp.bfloat16
  held = np.asarray(state.key)[:, :T]
  np.testing.assert_array_equal(held, k.astype(jnp.bfloat16))


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize(
  ("change", "words"),
  [
    ({"key": (B, T, K, D + 1)}, r"key must have shape \[3, 'T', 2, 5\]"),
    ({"key": (B, T, K + 1, D)}, r"key must have shape .*got \[3, 11, 3, 5\]"),
    ({"value": (B, T, K, D)}, r"value must have shape \[3, 'T', 2, 7\]"),
    ({"value": (B - 1, T, K, E)}, "value must have shape"),
    ({"value": (B, 1, K, E)}, "as many tokens as key, got 1 and 11"),
    ({"lengths": [1, 2]}, r"lengths must have shape \[3\], one a row"),
    ({"lengths": [0, 0, T + 1]}, r"within 0 and the 11 tokens that came"),
    ({"lengths": [0, -1, 1]}, r"within 0 and the 11 tokens.*\[0, -1, 1\]"),
  ],
)
def test_arrays_that_do_not_fit(change, words):
  shapes = {"key": (B, T, K, D), "value": (B, T, K, E)} | change
  lengths = shapes.pop("lengths", None)
  lengths = None if lengths is None else jnp.array(lengths)
  new = [jnp.ones(shapes[name]) for name in ("key", "value")]
  for store in (cache.append, cache.roll):
    with pytest.raises(ValueError, match=words):
      store(empty(), *new, lengths=lengths)


def test_a_cache_without_room_is_refused():
  with pytest.raises(ValueError, match="capacity must be at least 1, got 0"):
    empty(0)
