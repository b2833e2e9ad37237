"""What users of other attention systems complain of: each a test by its name.

The names are those of public issue threads, ``project#number``.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

import attnjax
from attnjax import dot_product_attention, masks, score_mods
from tests.few import few

B, T, H, D = 2, 13, 2, 5


@pytest.fixture
def qkv(key):
  keys = jax.random.split(key, 3)
  return [jax.random.normal(k, (B, T, H, D)) for k in keys]


def dense(q, k, v, **options):
  return attnjax.attend(q, k, v, implementation="reference", **options)


ENGINE = attnjax.Blockwise(query_block=8, key_block=8)


def engine(q, k, v, **options):
  return attnjax.attend(q, k, v, implementation=ENGINE, **options)


def test_jax_38495_jacobian_works(qkv):
  q, k, v = (x[0, :3] for x in qkv)
  for jacobian in (jax.jacobian, jax.jacfwd, jax.jacrev):
    got, expected = (jax.jit(jacobian(f))(q, k, v) for f in (engine, dense))
    np.testing.assert_allclose(got, expected, atol=2e-6)


def test_maxtext_4476_packed_segments_are_not_ignored(qkv):
  ids = jnp.asarray([0] * 6 + [1] * 7)
  other = qkv[2].at[:, 6:].add(100.0)
  read = lambda v: engine(
    *qkv[:2], v, query_segment_ids=ids, key_segment_ids=ids
  )
  np.testing.assert_array_equal(read(qkv[2])[:, :6], read(other)[:, :6])


def test_flax_1317_a_prompt_longer_than_one_decodes(qkv):
  q, k, v = qkv
  whole = engine(q, k, v, mask=masks.causal())
  later = engine(
    q[:, 9:],
    k,
    v,
    mask=masks.causal(),
    query_positions=jnp.arange(9, T),
  )
  np.testing.assert_allclose(later, whole[:, 9:], atol=1e-6)


def test_flax_5591_decoding_sees_all_that_is_cached(key):
  x = jax.random.normal(key, (B, 5, 6))
  layer = nnx.MultiHeadAttention(
    2,
    6,
    decode=True,
    attention_fn=dot_product_attention,
    rngs=nnx.Rngs(0),
  )
  whole = layer(x, mask=nnx.make_causal_mask(x[..., 0]), decode=False)
  layer.init_cache(x.shape)
  steps = [layer(x[:, t : t + 1]) for t in range(5)]
  np.testing.assert_allclose(jnp.concatenate(steps, 1), whole, atol=1e-6)
  # What Flax hands over for `is_causal` while it decodes; not from 0.12.12 on.
  q, cached = jnp.ones((B, 1, 2, 3)), jnp.ones((B, 5, 2, 3))
  mask = jnp.arange(5) < 1
  with pytest.raises(ValueError, match="drop is_causal"):
    dot_product_attention(q, cached, cached, mask=mask, is_causal=True)


def test_jax_28974_a_mask_that_only_broadcasts_is_enough(qkv):
  mask = jnp.arange(T) < 7
  got = engine(*qkv, mask=mask)
  expected = dense(*qkv, mask=jnp.broadcast_to(mask, (B, H, T, T)))
  np.testing.assert_allclose(got, expected, atol=1e-6)


@pytest.mark.parametrize("width", few([1, 3, 64, 80, 192], 1, 80))
def test_jax_30861_26433_maxtext_1047_any_head_width(key, width):
  q, k, v = (
    jax.random.normal(x, (3, 1, width)) for x in jax.random.split(key, 3)
  )
  np.testing.assert_allclose(engine(q, k, v), dense(q, k, v), atol=1e-6)


@pytest.mark.parametrize("length", few([1, 7, 9, 17], 1, 17))
def test_jax_27224_23819_lengths_that_no_block_divides(key, length):
  shape = (length, H, D)
  q, k, v = (jax.random.normal(x, shape) for x in jax.random.split(key, 3))
  runs = [engine(q, k, v, mask=masks.causal()) for _ in range(3)]
  expected = dense(q, k, v, mask=masks.causal())
  np.testing.assert_allclose(runs[0], expected, atol=1e-6)
  for run in runs[1:]:
    np.testing.assert_array_equal(run, runs[0])


def test_jax_32300_a_window_alone_is_a_window(qkv):
  got = dot_product_attention(*qkv, local_window_size=(2, 0))
  expected = dense(*qkv, mask=masks.sliding_window(2))
  np.testing.assert_allclose(got, expected, atol=1e-6)


def test_jax_23349_lengths_of_keys_are_respected(qkv):
  q, k, v = qkv
  lengths = jnp.array([4, 13])
  got = dot_product_attention(q, k, v, key_value_seq_lengths=lengths)
  np.testing.assert_allclose(got[0], dense(q, k[:, :4], v[:, :4])[0], atol=1e-6)


@pytest.mark.usefixtures("as_a_user")
def test_jax_35916_flash_attn_jax_3_the_other_layout_is_told():
  q, k = jnp.ones((B, 4, 64, D)), jnp.ones((B, 2, 48, D))  # B H T D
  with pytest.raises(ValueError, match=r"look like '\*B H T D'.*swapaxes"):
    attnjax.attend(q, k, k)


@pytest.mark.slow
def test_jax_32242_30593_24047_gradients_to_any_bias(qkv):
  q, k, v = (x.astype(jnp.bfloat16) for x in qkv)
  for shape in ((1, H, T, T), (B, 1, T, T), (T, T), (B, H, 1, T)):
    bias = 0.1 * jnp.ones(shape, jnp.float32)
    slopes = [
      jax.jit(
        jax.grad(
          lambda b, f=f: (f(q, k, v, bias=b) ** 2).sum().astype("float32")
        )
      )(bias)
      for f in (engine, dense)
    ]
    assert slopes[0].shape == shape
    np.testing.assert_allclose(*slopes, atol=0.1)


def test_keras_21808_a_mask_that_is_traced_in_a_while_loop(qkv):
  q, k, v = qkv

  def step(carry):
    i, x = carry
    return i + 1, engine(x, k, v, mask=masks.lengths(key=i + 1))

  _, out = lax.while_loop(lambda c: c[0] < 4, step, (jnp.int32(0), q))
  for length in (1, 2, 3, 4):
    q = dense(q, k[:, :length], v[:, :length])
  np.testing.assert_allclose(out, q, atol=1e-5)


def test_transformerengine_568_why_not_is_told(qkv):
  told = str(attnjax.explain(*qkv, aux=("weights",)))
  assert "weights" in told.splitlines()[1]
  assert any(x.startswith("> reference") for x in told.splitlines())


def test_torch_41508_hidden_rows_do_not_poison_the_batch(qkv):
  q, k, v = qkv
  rule = masks.lengths(query=jnp.array([0, T]), key=jnp.array([T, T]))
  slopes = jax.grad(lambda *x: (engine(*x, mask=rule) ** 2).sum(), (0, 1, 2))(
    q, k, v
  )
  for slope in slopes:
    assert jnp.isfinite(slope).all()
    assert (slope[0] == 0).all()
    assert (slope[1] != 0).any()


def test_torch_154226_xformers_552_natten_224_jvp(qkv):
  got = jax.jvp(engine, qkv, qkv[::-1])
  for x, y in zip(got, jax.jvp(dense, qkv, qkv[::-1]), strict=True):
    np.testing.assert_allclose(x, y, atol=5e-6)


def test_flash_attention_561_gym_19_maps_of_a_fused_run(qkv):
  q, k, v = qkv
  rows = attnjax.attention_weights(
    q, k, queries=jnp.array([0, -1]), mask=masks.causal()
  )
  out = engine(q, k, v, mask=masks.causal())
  read = jnp.einsum("bhns,bshd->bnhd", rows, v)
  np.testing.assert_allclose(read, out[:, jnp.array([0, -1])], atol=1e-6)


def shifted(logit, b, h, q, k, table):
  return logit + table[h, q, k].astype(logit.dtype)


@pytest.mark.slow
def test_gym_20_torch_145208_gradients_of_learned_biases(qkv):
  table = jnp.zeros((H, T, T)) + 0.1
  slopes = [
    jax.grad(
      lambda t, f=f: (
        f(*qkv, score_mod=score_mods.from_fn(shifted, t)) ** 2
      ).sum()
    )(table)
    for f in (engine, dense)
  ]
  np.testing.assert_allclose(*slopes, atol=2e-5)


def test_gym_123_a_new_bias_compiles_nothing(qkv):
  @jax.jit
  @chex.assert_max_traces(n=1)
  def f(table):
    return engine(*qkv, score_mod=score_mods.from_fn(shifted, table))

  for scale in (1.0, 2.0, 3.0):
    f(jnp.full((H, T, T), scale))


def test_gym_149_torch_151043_134756_jax_25213_37179_no_dense_mask():
  """Temporaries of a masked call of 16384 tokens: far below T x T booleans."""
  length = 16384
  x = jax.ShapeDtypeStruct((length, 1, 4), jnp.float32)
  ids = jax.ShapeDtypeStruct((length,), jnp.int32)

  def f(q, ids):
    rule = masks.causal() & masks.segments(ids)
    return attnjax.attend(q, q, q, mask=rule)

  memory = jax.jit(f).lower(x, ids).compile().memory_analysis()
  assert memory.temp_size_in_bytes < length**2 / 8


def test_layers_that_are_scanned_keep_no_masks():
  """The gradient of a scan over layers takes memory as T, not as T²."""

  def near(logit, b, h, q, k, slopes):
    return logit - slopes[h] * (q - k).astype(logit.dtype)

  def layers(x, slopes):
    mod = score_mods.from_fn(near, slopes)
    layer = lambda x, _: (
      attnjax.attend(x, x, x, mask=masks.causal(), score_mod=mod),
      None,
    )
    return jax.lax.scan(layer, x, None, length=2)[0].sum()

  def temporary(length):
    x = jax.ShapeDtypeStruct((length, 2, 4), jnp.float32)
    slopes = jax.ShapeDtypeStruct((2,), jnp.float32)
    compiled = jax.jit(jax.grad(layers)).lower(x, slopes).compile()
    return compiled.memory_analysis().temp_size_in_bytes

  assert temporary(8192) < 3 * temporary(4096)


def test_torch_148752_training_on_a_cpu(qkv):
  mod = score_mods.softcap(5.0)
  slopes = [
    jax.grad(lambda q, f=f: (f(q, *qkv[1:], score_mod=mod) ** 2).sum())(qkv[0])
    for f in (engine, dense)
  ]
  np.testing.assert_allclose(*slopes, atol=5e-6)
