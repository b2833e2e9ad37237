"""`capture` sees what attention was given; the oracle is `attend`, float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import attnjax
from attnjax import masks, normalizers, score_mods, viz
from attnjax.models import (
  DecoderConfig,
  DecoderLM,
  EncoderDecoder,
  EncoderDecoderConfig,
)
from attnjax.parallel import RingAttention, make_mesh

SIZES = {"width": 12, "depth": 3, "heads": 2, "hidden": 24}


def decoder(**options):
  config = DecoderConfig(**(SIZES | options))
  return DecoderLM(config, 17, rngs=nnx.Rngs(0))


TOKENS = jnp.arange(14).reshape(2, 7) % 17


ALIBI = {"remat": True, "kv_heads": 1, "positions": "alibi"}


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, ALIBI])
def test_layers_of_a_scan_come_out_with_their_weights(options):
  model = decoder(**options)
  out, aux = model(TOKENS, aux=("weights",))
  captured = viz.capture(model, TOKENS)

  np.testing.assert_allclose(captured.out, out, atol=1e-5)
  assert len(captured) == 3
  found = captured.weights()
  assert found.axes == ("layer", "batch", "head", "query", "key")
  np.testing.assert_allclose(found, aux.weights, atol=1e-5)

  some = captured.weights(layers=[2, 0], heads=[-1], queries=[-1, 3])
  expected = np.asarray(aux.weights)[[2, 0]][:, :, [1]][..., [6, 3], :]
  np.testing.assert_allclose(some, expected, atol=1e-5)
  assert some.names("head") == (1,)
  assert some.names("query") == (6, 3)


@pytest.mark.slow
def test_a_jitted_function_is_seen_and_is_left_as_it_was():
  model = decoder()
  fast = jax.jit(lambda tokens: model(tokens))
  before = fast(TOKENS)
  captured = viz.capture(fast, TOKENS)
  assert len(captured) == 3
  np.testing.assert_array_equal(fast(TOKENS), before)
  assert "attend_call" not in str(jax.make_jaxpr(fast)(TOKENS))


@pytest.mark.slow
def test_rows_of_vmap_are_batch_rows():
  model = decoder()
  one = viz.capture(model, TOKENS).weights()
  each = viz.capture(jax.vmap(model), TOKENS).weights()
  np.testing.assert_allclose(each, one, atol=1e-6)


@pytest.mark.slow
def test_vmap_over_queries_alone_leaves_the_keys_whole():
  x = jax.random.normal(jax.random.key(0), (3, 5, 2, 4))
  attend = lambda q, k: attnjax.attend(q, k, k, mask=masks.causal())
  both = lambda x: jax.vmap(attend, (0, None))(x, x[0])
  found = viz.capture(both, x).weights(heads=[1])
  for row in range(3):
    _, aux = attnjax.attend(
      x[row], x[0], x[0], mask=masks.causal(), aux=("weights",)
    )
    np.testing.assert_allclose(
      found.values[0, row, 0], aux.weights[1], atol=1e-6
    )


@pytest.mark.slow
def test_every_option_of_a_call_takes_part_in_float64():
  with jax.enable_x64(True):
    keys = iter(jax.random.split(jax.random.key(0), 9))
    draw = lambda *shape: jax.random.normal(next(keys), shape, jnp.float64)
    query, key, value = draw(2, 7, 6, 4), draw(2, 11, 3, 4), draw(2, 11, 3, 5)
    options = {
      "mask": masks.causal() & (draw(6, 1, 11) > -1),
      "bias": draw(2, 6, 1, 11),
      "score_mod": score_mods.alibi(jnp.abs(draw(6))),
      "normalizer": normalizers.softmax(sink=draw(6)),
      "query_positions": jnp.arange(7) + 3,
      "key_positions": jnp.arange(11),
      "query_segment_ids": jnp.arange(14).reshape(2, 7) // 5,
      "key_segment_ids": jnp.arange(22).reshape(2, 11) // 6,
    }
    call = lambda *qkv: attnjax.attend(*qkv, **options, dropout_rate=0.0)
    _, aux = attnjax.attend(query, key, value, **options, aux=("weights",))
    captured = viz.capture(call, query, key, value)

    whole = captured[0].weights()
    assert whole.dtype == jnp.float64
    np.testing.assert_allclose(whole, aux.weights, atol=1e-12)
    part = captured[0].weights(queries=[5, 0], heads=[4, 1])
    expected = np.asarray(aux.weights)[:, [4, 1]][:, :, [5, 0]]
    np.testing.assert_allclose(part, expected, atol=1e-12)
    logits = captured[0].logits(heads=[2])
    hidden = np.isneginf(logits)
    np.testing.assert_array_equal(hidden, np.asarray(aux.weights)[:, [2]] == 0)


@pytest.mark.slow
def test_calls_stand_in_the_order_in_which_they_are_made():
  config = EncoderDecoderConfig(
    width=12, encoder_depth=2, decoder_depth=3, heads=2, hidden=24
  )
  model = EncoderDecoder(config, 17, 17, rngs=nnx.Rngs(0))
  source, target = TOKENS, TOKENS[:, :5]
  captured = viz.capture(model, source, target)
  assert [x.lengths for x in captured] == [(7, 7)] * 2 + [(5, 5), (5, 7)] * 3
  with pytest.raises(ValueError, match="choose layers="):
    captured.weights()
  assert captured.weights(layers=[3, 5]).shape == (2, 2, 2, 5, 7)


def test_a_reversed_scan_is_read_from_its_last_step():
  x = jax.random.normal(jax.random.key(0), (3, 5, 2, 4))
  step = lambda c, x: (c, attnjax.attend(x, x, x))
  backward = lambda x: jax.lax.scan(step, 0.0, x, reverse=True)[1]
  captured = viz.capture(backward, x)
  for call, row in zip(captured, reversed(x), strict=True):
    np.testing.assert_array_equal(call.query, row)


@pytest.mark.slow
def test_sharded_attention_and_sharded_inputs_are_seen():
  mesh = make_mesh(data=2, sequence=4)
  ring = RingAttention(mesh, "sequence", batch="data")
  x = jax.random.normal(jax.random.key(0), (2, 8, 2, 4))
  rows = jax.sharding.PartitionSpec("data", "sequence")
  there = jax.device_put(x, jax.sharding.NamedSharding(mesh, rows))
  call = lambda x: ring(x, x, x, mask=masks.causal())
  captured = viz.capture(call, there)
  _, aux = attnjax.attend(x, x, x, mask=masks.causal(), aux=("weights",))
  np.testing.assert_allclose(captured.out, call(x), atol=1e-6)
  np.testing.assert_allclose(captured[0].weights(), aux.weights, atol=1e-6)


def test_a_row_of_a_long_context_does_not_make_the_square():
  long = 2**16
  x = jnp.ones((long, 1, 2))
  captured = viz.capture(
    lambda x: attnjax.attend(x[:1], x, x, mask=masks.full()), x
  )
  assert captured.weights(queries=[0]).shape == (1, 1, 1, 1, long)

  call = viz.AttentionCall(*_site_of(x))
  row = jax.make_jaxpr(lambda: call.weights(queries=[long - 1]))()
  largest = max(v.aval.size for e in row.eqns for v in e.outvars)
  assert largest <= 4 * long
  with pytest.raises(ValueError, match="queries must be chosen"):
    viz.Captured(None, (call,)).weights()


def _site_of(x):
  """A call of self-attention over an array, as `capture` would hold it."""
  from attnjax.ops.attention.observe import Site

  return Site((x, x, {"mask": masks.causal()})), []


def test_what_cannot_be_seen_is_said():
  x = jnp.ones((3, 1, 2))
  with pytest.raises(ValueError, match="none was seen"):
    viz.capture(lambda x: x, x)
  loop = lambda x: jax.lax.while_loop(
    lambda x: x.sum() < 9, lambda x: attnjax.attend(x, x, x) + 1, x
  )
  with pytest.raises(NotImplementedError, match="while"):
    viz.capture(loop, x)
  captured = viz.capture(attnjax.attend, x, x, x)
  for options in ({"heads": [1]}, {"queries": [3]}, {"layers": [-2]}):
    with pytest.raises(ValueError, match="must be some of the"):
      captured.weights(**options)


def test_a_capture_within_a_capture_is_named():
  x = jnp.ones((3, 1, 2))
  inner = lambda x: viz.capture(attnjax.attend, x, x, x).out
  with pytest.raises(ValueError, match="within what is captured"):
    viz.capture(inner, x)
  # By itself, and after an error, it is seen.
  assert len(viz.capture(attnjax.attend, x, x, x)) == 1


@pytest.mark.parametrize("scanned", [False, True])
def test_a_gradient_with_remat_lists_a_layer_once(scanned):
  x = jax.random.normal(jax.random.key(0), (5, 2, 4))
  scales = jnp.array([1.0, 2.0, 3.0])

  def loss(scales, x):
    layer = jax.checkpoint(lambda x, a: x + attnjax.attend(a * x, x, x))
    if scanned:
      step = lambda x, a: (layer(x, a), None)
      x = jax.lax.scan(step, x, scales)[0]
    else:
      for a in scales:
        x = layer(x, a)
    return jnp.square(x).sum()

  captured = viz.capture(jax.value_and_grad(loss), scales, x)
  assert len(captured) == 3
  once = viz.capture(loss, scales, x)
  np.testing.assert_allclose(captured.weights(), once.weights(), atol=1e-6)
  np.testing.assert_allclose(
    captured.out[1], jax.grad(loss)(scales, x), rtol=1e-5
  )
  slope = lambda scales, x: jax.grad(loss)(scales, x).sum()
  with pytest.raises(NotImplementedError, match="backward pass"):
    viz.head_ablation(slope, scales, x)


def test_empty_lengths_and_rows_that_see_nothing():
  x = jnp.ones((2, 3, 1, 2))
  none = viz.capture(lambda x: attnjax.attend(x[:, :0], x, x), x)
  assert none.weights().shape == (1, 2, 1, 0, 3)
  blind = viz.capture(lambda x: attnjax.attend(x, x, x, mask=~masks.full()), x)
  assert not blind.weights().values.any()


@pytest.mark.slow
def test_heads_that_are_divided_on_an_explicit_mesh_are_chosen():
  mesh = jax.make_mesh((2, 4), ("rows", "heads"))
  x = jax.random.normal(jax.random.key(0), (2, 7, 4, 8))
  spec = jax.sharding.PartitionSpec("rows", None, "heads")
  causal = lambda x: attnjax.attend(x, x, x, mask=masks.causal())
  expected = viz.capture(causal, x).weights(heads=[3, 1], queries=[5, 0])
  with jax.set_mesh(mesh):
    there = jax.device_put(x, jax.sharding.NamedSharding(mesh, spec))
    captured = viz.capture(causal, there)
    found = captured.weights(heads=[3, 1], queries=[5, 0])
  np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.slow
def test_layers_of_several_kinds_come_out_in_their_order():
  model = decoder(depth=5, window=2, layers=("window", "window", "full"))
  tokens = jnp.arange(7)
  found = viz.capture(model, tokens).weights()
  run = jax.jit(lambda m, t: m(t, aux=("weights",))[1].weights)
  weights = run(model, tokens)  # L H T S
  np.testing.assert_allclose(np.asarray(found)[:, 0], weights, atol=1e-5)
  seen = (np.asarray(weights) > 0).sum(-1).max((1, 2))
  assert seen.tolist() == [3, 3, 7, 3, 3]
