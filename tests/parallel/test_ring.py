"""The ring goes no step in vain, and sends before it computes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from laid_out import sharded

import attnjax
from attnjax import masks
from attnjax.parallel.collectives import Ring, shortest_way
from attnjax.parallel.division import attend_divided

N, T = 8, 64
ENGINE = attnjax.Blockwise(8, 8)


def way(live):
  back, count = shortest_way(np.array(live, bool))
  return list(range(-back, count - back))


def test_the_arc_passes_every_live_step_and_goes_no_further():
  assert way([1] * 6) == [0, 1, 2, 3, 4, 5]
  assert way([1, 1, 0, 0, 0, 0]) == [0, 1]  # a window
  assert way([1, 1, 0, 0, 0, 1]) == [-1, 0, 1]  # to both sides
  assert way([0] * 6) == []
  every = np.random.default_rng(0).random((200, 7)) < 0.4
  for live in every:
    steps = way(live)
    assert len({step % 7 for step in steps}) == len(steps)
    assert set(np.flatnonzero(live)) <= {step % 7 for step in steps}
    assert not steps or steps[-1] == 0 or live[steps[-1] % 7]
    found = shortest_way(jnp.asarray(live))
    assert tuple(map(int, found)) == shortest_way(live)


def test_steps_that_hold_nothing_are_left_out():
  codes = np.zeros((1, N, N), np.int32)
  device = np.arange(N)
  for step in (0, 3, 5):
    codes[0, device, device - step] = 1
  ring = Ring("sequence", N, ("sequence",)).skipping_empty(codes)
  assert sorted(step % N for step in ring.steps) == [0, 3, 5]


def arrays(length=T, heads=2):
  keys = jax.random.split(jax.random.key(3), 3)
  return [jax.random.normal(k, (1, length, heads, 4)) for k in keys]


def sent(monkeypatch, attention, *qkv, **options):
  """How often something is sent, a device; counted while it runs."""
  sends, shift = [], Ring.shift

  def counted(self, xs, by):
    if by % self.size and jax.tree.leaves(xs):
      jax.debug.callback(lambda: sends.append(by))
    return shift(self, xs, by)

  monkeypatch.setattr(Ring, "shift", counted)
  attend_divided.clear_cache()
  run = jax.jit(lambda *x: attention(*x, implementation=ENGINE, **options))
  out = jax.block_until_ready(run(*qkv))
  jax.effects_barrier()
  monkeypatch.undo()
  attend_divided.clear_cache()
  return out, len(sends) / N


@pytest.mark.parametrize(
  ("mask", "times"),
  [
    (masks.causal(), N - 1),
    (masks.sliding_window(T // N), 1),
    (masks.sliding_window(2 * T // N, 1), 3),  # 0, 1, 2 and -1
    (masks.chunked(T // N), 0),
  ],
  ids=["causal", "window", "both sides", "chunked"],
)
def test_what_is_known_to_be_empty_is_not_sent(monkeypatch, mask, times):
  ring = sharded("ring", "contiguous", sequence=N)
  _, sends = sent(monkeypatch, ring, *arrays(), mask=mask)
  assert sends == times


def test_a_table_of_jax_is_known_while_a_program_is_traced():
  ring = sharded("ring", "contiguous", sequence=N)
  table = masks.dense(jnp.tri(T, dtype=bool)) & masks.full()
  found = []

  def traced(*x):
    found.append(ring.work(*x, mask=table, implementation=ENGINE))
    return x[0]

  jax.jit(traced)(*arrays())
  causal = ring.work(*arrays(), mask=masks.causal(), implementation=ENGINE)
  assert (found[0] == causal).all()


@pytest.mark.parametrize(
  ("documents", "times"),
  [(8, 0), (4, 1), pytest.param(1, 7, marks=pytest.mark.slow)],
)
def test_documents_are_found_when_it_runs(monkeypatch, documents, times):
  ring = sharded("ring", "contiguous", sequence=N)
  ids = jnp.arange(T, dtype=jnp.int32) // (T // documents)
  query, key, value = arrays()
  # What is never computed with may be anything: 0 · NaN would be NaN.
  poisoned = jnp.where((ids != 0)[:, None, None], jnp.nan, value)
  options = {"query_segment_ids": ids, "key_segment_ids": ids}
  out, sends = sent(
    monkeypatch, ring, query, key, poisoned, mask=masks.causal(), **options
  )
  assert sends == times
  assert jnp.isfinite(out[:, : T // documents]).all()


@pytest.mark.slow
def test_the_next_keys_are_sent_before_these_are_computed_with():
  ring = sharded("ring", "contiguous", sequence=N)
  run = lambda *x: ring(*x, mask=masks.causal(), implementation=ENGINE)
  loss = lambda *x: run(*x).sum()
  for function, loops in ((run, 1), (jax.grad(loss, (0, 1, 2)), 2)):
    program = jax.jit(function).lower(*arrays(2 * T)).compile().as_text()
    assert "is_scheduled=true" in program
    # Of each loop round the ring, in the order in which it is carried out.
    bodies = [x for x in program.split("\n\n") if "ENTRY" not in x]
    sending = [x for x in bodies if "collective-permute(" in x]
    assert len(sending) == loops
    for body in sending:
      before, after = body.split(" while(", 1)
      assert before.count("collective-permute(") >= 3
      assert "collective-permute(" not in after


@pytest.mark.slow
def test_a_module_takes_it_as_its_attend():
  from flax import nnx

  from attnjax.nn import MultiHeadAttention

  x = jax.random.normal(jax.random.key(0), (2, 16, 12))
  ring = sharded("ring", "zigzag", batch=2, sequence=4)
  place = jnp.asarray(ring.permute(np.arange(16, dtype=np.int32)))

  def made(**options):
    return MultiHeadAttention(12, heads=2, rngs=nnx.Rngs(0), **options)

  plain = made()(x, mask=masks.causal())
  run = jax.jit(
    lambda x: made(attend=ring)(x, mask=masks.causal(), positions=place)
  )
  divided = ring.unpermute(run(ring.permute(x, 1)), 1)
  np.testing.assert_allclose(divided, plain, atol=1e-5)


def memory(length, shards, layout="zigzag", kind="ring"):
  """Bytes a device of a gradient: arguments, results and temporaries."""
  attention = sharded(kind, layout, sequence=shards)
  place = attention.permute(np.arange(length, dtype=np.int32))
  places = {"query_positions": place, "key_positions": place}

  def loss(*x):
    out = attention(
      *x,
      mask=masks.causal(),
      implementation=attnjax.Blockwise(64, 64),
      **places,
    )
    return out.sum()

  spec = jax.sharding.PartitionSpec(None, "sequence")
  lain = jax.sharding.NamedSharding(attention.mesh, spec)
  x = jax.ShapeDtypeStruct((1, length, 2, 16), "float32", sharding=lain)
  compiled = jax.jit(jax.grad(loss, (0, 1, 2))).lower(x, x, x).compile()
  found = compiled.memory_analysis()
  return found.temp_size_in_bytes + found.argument_size_in_bytes


@pytest.mark.slow
def test_memory_a_device_falls_with_the_devices_and_stays_level():
  few, many, shorter = memory(8192, 2), memory(8192, 8), memory(4096, 4)
  assert many < 1.2 * few / 4
  assert many < 1.1 * shorter
