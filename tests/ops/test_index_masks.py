"""A boolean array composed with a mask is looked up by index, everywhere."""

import operator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import attnjax
from attnjax import cache, masks, nn, parallel
from attnjax.masks import Tile
from tests.few import few

B, T, H, D = 2, 8, 4, 3
# Left padding: real tokens are counted from 0, wherever they stand.
REAL = np.arange(T) >= np.array([[3], [0]])
POSITIONS = (np.cumsum(REAL, -1) - 1).astype(np.int32)
KEYS = REAL[:, None, None, :]
RULE = POSITIONS[:, None, None, :] <= POSITIONS[:, None, :, None]  # causal
SOME = np.random.default_rng(0).random((B, H, T, T)) < 0.5
SMALL = attnjax.Blockwise(3, 3)
FOUND = {
  "and": (masks.causal() & KEYS, RULE & KEYS),
  "reflected and": (KEYS & masks.causal(), RULE & KEYS),
  "of jax": (jnp.asarray(KEYS) & masks.causal(), RULE & KEYS),
  "or": (SOME | masks.causal(), RULE | SOME),
  "not": (~(masks.causal() & SOME), ~(RULE & SOME)),
  "by head": (masks.causal() & SOME[:1], RULE & SOME[:1]),
  "T S": (masks.causal() & SOME[0, 0], RULE & SOME[0, 0]),
  "several": (SOME & masks.causal() & KEYS, RULE & KEYS & SOME),
}


@pytest.fixture
def qkv(key):
  return [jax.random.normal(k, (B, T, H, D)) for k in jax.random.split(key, 3)]


def placed(*qkv, at=POSITIONS, attend=attnjax.attend, **options):
  """Attention of left-padded tokens."""
  where = {"query_positions": at, "key_positions": at}
  return attend(*qkv, **where, **options)


def close(found, expected, atol=1e-5):
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=atol),
    found,
    expected,
  )


@pytest.mark.parametrize("name", few(FOUND, "and", "by head", "several"))
def test_an_array_composes_by_index_on_every_implementation(qkv, name):
  mask, seen = FOUND[name]
  expected = attnjax.attend(*qkv, mask=seen, implementation="reference")
  for one in ("reference", SMALL):
    run = jax.jit(lambda *x, one=one: placed(*x, mask=mask, implementation=one))
    close(run(*qkv), expected)


def test_left_padding_is_right_padding_moved(qkv):
  found = placed(*qkv, mask=masks.causal() & KEYS)
  short = [x[0, 3:] for x in qkv]
  close(found[0, 3:], attnjax.attend(*short, mask=masks.causal()))


@pytest.mark.slow
def test_under_jit_grad_vmap_scan_and_checkpoint(qkv):
  def loss(qkv, keys, attend=placed):
    mask = (keys & masks.causal()) | SOME
    return attend(*qkv, mask=mask, implementation=SMALL).sum(axis=(1, 2, 3))

  def plain(qkv, keys, **options):
    return attnjax.attend(*qkv, mask=RULE & keys | SOME).sum(axis=(1, 2, 3))

  keys = jnp.asarray(KEYS)
  grad = lambda f: jax.grad(lambda x, y: (f(x, y) ** 2).sum())
  expected = plain(qkv, keys), grad(plain)(qkv, keys)
  again = jax.checkpoint(loss)
  both = jax.jit(lambda x, y: (loss(x, y), grad(again)(x, y)))
  close(both(qkv, keys), expected)
  stacked = jnp.stack([keys, ~keys])
  each = jnp.stack([plain(qkv, x) for x in stacked])
  close(jax.vmap(lambda x: loss(qkv, x))(stacked), each)
  close(jax.lax.scan(lambda _, x: (0, loss(qkv, x)), 0, stacked)[1], each)


def test_a_composed_mask_is_an_argument_like_any_other(qkv):
  mask, seen = FOUND["or"]
  expected = attnjax.attend(*qkv, mask=seen)
  close(jax.jit(lambda m: placed(*qkv, mask=m))(mask), expected)


def test_several_batch_axes(qkv):
  lead = lambda x: jnp.asarray(x).reshape((1, 2, *x.shape[1:]))
  mask = masks.causal() & lead(KEYS)
  found = placed(*map(lead, qkv), at=lead(POSITIONS), mask=mask)
  close(found[0], attnjax.attend(*qkv, mask=RULE & KEYS))


def test_weights_of_chosen_queries(qkv):
  chosen = jnp.array([7, 4, -1])
  mask, seen = FOUND["several"]
  found = placed(
    *qkv[:2], attend=attnjax.attention_weights, mask=mask, queries=chosen
  )
  every = attnjax.attention_weights(*qkv[:2], mask=jnp.asarray(seen))
  close(found, every[:, :, chosen])


@pytest.mark.parametrize(
  "layout", few(["contiguous", "zigzag", "striped"], "zigzag", "striped")
)
@pytest.mark.parametrize("kind", ["RingAttention", "AllGatherAttention"])
def test_aligned_with_permuted_tokens_when_they_are_divided(qkv, kind, layout):
  mesh = parallel.make_mesh(jax.devices()[:2], sequence=2)
  attention = getattr(parallel, kind)(mesh, "sequence", layout=layout)
  order = lambda x, *axes: (
    order(attention.permute(x, axes[0]), *axes[1:]) if axes else x
  )
  # Real positions, all known or all traced, with pads among them.
  keys, some = order(KEYS, -1), order(SOME, -2, -1)
  at = attention.permute(np.maximum(POSITIONS, -1))

  def run(*qkv):
    mask = (masks.causal() & keys) | jnp.asarray(some)
    return placed(*qkv, at=at, mask=mask, attend=attention)

  found = jax.jit(run)(*(order(x, -3) for x in qkv))
  expected = attnjax.attend(*qkv, mask=RULE & KEYS | SOME)
  close(attention.unpermute(found, -3), expected)


def test_heads_divided_with_the_array(qkv):
  mesh = parallel.make_mesh(jax.devices()[:2], sequence=2)
  ulysses = parallel.UlyssesAttention(mesh, "sequence")
  found = placed(*qkv, mask=masks.causal() & SOME, attend=ulysses)
  close(found, attnjax.attend(*qkv, mask=RULE & SOME))


def test_decoding_left_padded_prompts_over_a_cache(qkv):
  layer = nn.MultiHeadAttention(6, heads=2, rngs=nnx.Rngs(0))
  x = jax.random.normal(jax.random.key(1), (B, T, 6))
  slots = np.pad(KEYS, [(0, 0)] * 3 + [(0, 3)], constant_values=True)
  mask = masks.causal() & slots

  def read(x, chunk):
    state, outs = cache.init((B,), capacity=T + 3, heads=2, width=3), []
    for i in range(0, T, chunk):
      out, state = layer.decode(x[:, i : i + chunk], state, mask=mask)
      outs.append(out)
    return jnp.concatenate(outs, 1)

  alone = layer(x[:1, 3:], mask=masks.causal())[0]
  for chunk in (T, 1):
    close(jax.jit(read, static_argnums=1)(x, chunk)[0, 3:], alone)
  state = cache.init((B,), capacity=T + 3, heads=2, width=3)
  with pytest.raises(ValueError, match=r"mask must broadcast to .*2, 8, 11"):
    layer.decode(x, state, mask=masks.causal() & KEYS)


def test_the_drop_in_composes_its_options(qkv):
  found = attnjax.dot_product_attention(
    *qkv, mask=jnp.asarray(SOME), is_causal=True, local_window_size=3
  )
  theirs = jax.nn.dot_product_attention(
    *qkv, mask=jnp.asarray(SOME), is_causal=True, local_window_size=3
  )
  empty = ~(SOME & np.tri(T, dtype=bool) & ~np.tri(T, k=-4, dtype=bool)).any(-1)
  theirs = jnp.where(jnp.swapaxes(empty, 1, 2)[..., None], 0, theirs)
  close(found, theirs)


def test_it_is_shown_and_asked_by_tile():
  mask = masks.causal() & (np.arange(4) != 1)[None]
  assert mask.picture(4, 4).split("\n")[-1] == "█ · █ █"
  seen = (masks.causal() & SOME).dense(T, T, batch=(B,), heads=H)
  np.testing.assert_array_equal(seen, SOME & np.tri(T, dtype=bool))
  drawn = (masks.full() & SOME).picture(T, T, batch=1, head=2)
  assert drawn == masks.dense(SOME[1, 2]).picture(T, T)
  assert mask.tile((0, 4), (1, 2)) is Tile.EMPTY
  assert mask.tile((3, 4), (2, 4)) is Tile.FULL


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize(
  ("array", "words"),
  [
    (np.ones((B, T), int), r"array\.astype\(bool\)\[:, None, None, :\]"),
    (np.ones((T, T), np.float32), "logits to add are bias="),
    (True, "with a boolean array, not with bool"),
    ([[True]], "with a boolean array, not with list"),
  ],
)
def test_what_does_not_compose_names_the_remedy(array, words):
  for compose in (operator.and_, operator.or_):
    with pytest.raises(TypeError, match=words):
      compose(masks.causal(), array)
    with pytest.raises(TypeError, match=words):
      compose(array, masks.causal())


@pytest.mark.usefixtures("as_a_user")
def test_an_array_that_does_not_fit_names_the_remedy(qkv):
  remedy = r"make mask\[\.\.\., None, None, :\]"
  for mask in (REAL, masks.causal() & REAL):
    with pytest.raises(ValueError, match=remedy):
      attnjax.attend(*qkv, mask=mask)
  with pytest.raises(ValueError, match=r"got int64; of 0\s+and 1 a token"):
    attnjax.attend(*qkv, mask=REAL.astype(int))
  with pytest.raises(ValueError, match=r"\[2, 1, 1, 8\] must broadcast to"):
    (masks.causal() & KEYS).dense(4, 4, batch=(B,))
  with pytest.raises(ValueError, match="looked up by index"):
    (masks.causal() & KEYS)(0, 0, 1, 1)
