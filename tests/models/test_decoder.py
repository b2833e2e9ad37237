"""Laws of the decoder: what it may know, and the many ways to compute it."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import attnjax
from attnjax import masks
from attnjax.models import DecoderConfig, DecoderLM, decoder_parameters, total
from experiments.language_model.config import PRESETS
from tests.few import few
from tests.models.small import KINDS, SIZES, V, decoder, forward

B, T = 2, 8
TOKENS = np.array(
  [[3, 1, 4, 1, 5, 9, 2, 6], [5, 3, 5, 8, 9, 7, 9, 12]], np.int32
)
TARGETS = np.roll(TOKENS, -1, axis=1)

# Everything that a config may add.
FULL = {"positions": "learned", "norm": "layer", "use_bias": True}
FULL |= {"activation": "swiglu", "tied": False}


@pytest.fixture(scope="module", params=KINDS)
def model(request):
  """A decoder of every kind of positions."""
  return decoder(positions=request.param)


@pytest.fixture(scope="module")
def plain():
  """The decoder with everything."""
  return decoder(**FULL)


@jax.jit
def nll(logits, targets):
  """-log p of the targets, position by position."""
  log = jax.nn.log_softmax(logits)
  return -jnp.take_along_axis(log, targets[..., None], axis=-1)[..., 0]


def changed(tokens, where, to):
  """The tokens with one place changed."""
  tokens = tokens.copy()
  tokens[where] = to
  return tokens


def one_layer(model, i):
  return jax.tree.map(lambda x: x[i], model.blocks)


# --- what a position may know -----------------------------------------------


def test_no_logit_depends_on_a_later_token(model):
  before = forward(model, TOKENS)
  for t in (1, 5, T - 1):
    other = (TOKENS[:, t] + 1) % V
    after = forward(model, changed(TOKENS, np.s_[:, t], other))
    np.testing.assert_array_equal(before[:, :t], after[:, :t])
    assert (before[:, t] != after[:, t]).any()


@pytest.mark.parametrize("kind", few(["rotary", "alibi"], "alibi"))
def test_no_gradient_comes_from_a_later_embedding(kind):
  # Each token occurs once, so a row of the table is the embedding of a place.
  model, tokens = decoder(positions=kind, tied=False), jnp.arange(T)

  jacobian = jax.jit(jax.jacrev(lambda model: model(tokens)))
  change = np.asarray(jacobian(model).embed.embedding[...])  # T V, V M
  reach = np.abs(change[:, :, :T]).max((1, 3))
  np.testing.assert_array_equal(reach > 0, np.tri(T, dtype=bool))


def test_packed_documents_are_separate_documents(model):
  ids = np.array([[0, 0, 0, 1, 1, 1, 1, 2], [7, 7, 7, 7, 7, 4, 4, 4]])
  starts = [[0, 3, 7], [0, 5]]
  where = np.array([[0, 1, 2, 0, 1, 2, 3, 0], [0, 1, 2, 3, 4, 0, 1, 2]])
  packed = forward(model, TOKENS, where, ids)
  for row, first in enumerate(starts):
    for start, stop in zip(first, [*first[1:], T], strict=True):
      # What follows a document in its row is later, and so without a say.
      alone = np.roll(TOKENS[row], -start)
      expected = forward(model, np.stack([alone, alone]))[0]
      np.testing.assert_allclose(
        packed[row, start:stop], expected[: stop - start], atol=2e-5
      )


def test_one_pass_has_the_losses_of_every_prefix():
  model = decoder()
  together = nll(forward(model, TOKENS), TARGETS)
  for n in (1, 5):
    alone = nll(forward(model, TOKENS[:, :n]), TARGETS[:, :n])
    np.testing.assert_allclose(together[:, n - 1], alone[:, -1], atol=1e-5)


def test_a_lone_token_is_the_same_wherever_it_stands(model):
  # The same token in a segment each.
  logits = forward(model, np.full((B, T), 5), None, np.arange(T))
  same = np.allclose(logits, logits[:, :1], atol=1e-5)
  # Of one position there is no distance to know, only an address.
  assert same == (model.config.positions not in ("learned", "sinusoidal"))


def test_what_moving_everything_changes(model):
  shifted = forward(model, TOKENS, np.arange(T) + 9)
  same = np.allclose(forward(model, TOKENS), shifted, atol=1e-4)
  assert same == (model.config.positions not in ("learned", "sinusoidal"))


@pytest.mark.parametrize("kind", ["none", "rotary"])
def test_what_reordering_the_past_changes(kind):
  # One block alone: a second reads order from what the first could see.
  model = decoder(positions=kind, depth=1)
  swapped = changed(TOKENS, np.s_[:, :3], TOKENS[:, [2, 0, 1]])
  last = lambda tokens: forward(model, tokens)[:, -1]
  same = np.allclose(last(TOKENS), last(swapped), atol=1e-5)
  assert same == (kind == "none")


def test_of_no_tokens_there_are_no_logits(model):
  chex.assert_shape(forward(model, np.zeros((B, 0))), (B, 0, V))


def test_a_token_that_is_not_in_the_vocabulary_makes_its_row_nan():
  for unknown in (V, -1):
    logits = forward(decoder(), changed(TOKENS, (1, 4), unknown))
    assert np.isfinite(logits[0]).all()
    assert np.isnan(logits[1]).all()


def test_a_position_that_was_not_learned_makes_its_row_nan(plain):
  last = SIZES["max_length"] - T
  where = np.arange(T) + np.array([[last], [last + 1]])
  logits = forward(plain, TOKENS, where)
  assert np.isfinite(logits[0]).all()
  assert np.isnan(logits[1]).all()


# --- many ways to compute it ------------------------------------------------


@jax.jit
def decode(model, tokens, cache):
  return model.decode(tokens, cache)


def test_a_cache_has_the_logits_of_a_full_pass(model):
  whole = forward(model, TOKENS)
  cache = model.init_cache((B,), T)
  for start in (0, 4):
    logits, cache = decode(model, TOKENS[:, start : start + 4], cache)
    np.testing.assert_allclose(logits, whole[:, start : start + 4], atol=2e-5)
  assert (np.asarray(cache.length) == T).all()
  late, _ = decode(model, TOKENS[:, :4], cache)  # there is no room left
  assert np.isnan(late).all()


def test_the_scan_over_layers_is_a_loop(plain):
  x = jax.jit(lambda m: m._embed(jnp.asarray(TOKENS), jnp.arange(T)))(plain)
  block = jax.jit(lambda block, x: block(x, mask=masks.causal()))
  for i in range(SIZES["depth"]):
    x = block(one_layer(plain, i), x)
  logits = jax.jit(lambda m, x: m.readout.logits(m.norm(x)))(plain, x)
  np.testing.assert_allclose(forward(plain, TOKENS), logits, atol=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"remat": True}, {"unroll": 3}])
def test_rematerialising_and_unrolling_change_nothing(options, gradient):
  loss, grads = gradient(decoder(**options))
  expected, expected_grads = gradient(decoder())
  np.testing.assert_allclose(loss, expected, rtol=1e-6)
  leaves = map(jax.tree.leaves, (grads, expected_grads))
  for a, b in zip(*leaves, strict=True):
    np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.fixture(scope="module")
def gradient():
  """The mean loss of a model and its gradient."""

  @jax.jit
  def run(model):
    loss = lambda m: nll(m(jnp.asarray(TOKENS)), TARGETS).mean()
    return jax.value_and_grad(loss)(model)

  return run


def test_rematerialising_keeps_less():
  def kept(remat):
    loss = lambda m: m(jnp.asarray(TOKENS)).sum()
    backward = lambda m: jax.tree.leaves(jax.vjp(loss, m)[1])
    saved = jax.eval_shape(backward, decoder(remat=remat))
    return sum(x.size for x in saved)

  assert kept(True) < kept(False)


def test_aux_is_of_every_layer():
  model = decoder()

  @jax.jit
  def run(model, first):
    tokens = jnp.asarray(TOKENS)
    _, own = first(model.embed(tokens), mask=masks.causal(), aux=("weights",))
    return *model(tokens, aux=("weights", "logsumexp")), own

  logits, aux, own = run(model, one_layer(model, 0))
  np.testing.assert_allclose(logits, forward(model, TOKENS), atol=1e-5)
  weights = np.asarray(aux.weights)
  np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-5)
  assert (np.triu(weights, 1) == 0).all()
  np.testing.assert_allclose(weights[0], own.weights, atol=1e-5)
  assert aux.entropy is None


@pytest.mark.parametrize(
  "options", few([{}, FULL], FULL), ids=["plain", "full"]
)
def test_few_bits_give_finite_float32_logits_close_to_those_of_many(options):
  model = decoder(**options)
  half = jax.tree.map(lambda p: p.astype(jnp.bfloat16), model)
  same = jax.tree.map(lambda p: p.astype(jnp.float32), half)
  got = forward(half, TOKENS)
  expected = forward(same, TOKENS)
  assert got.dtype == np.float32
  assert np.isfinite(got).all()
  # 8 bits of mantissa, rounded a few times a layer.
  assert np.abs(got - expected).max() < 0.05 * np.abs(expected).max()


@dataclasses.dataclass(frozen=True)
class Blind:
  """An attention that sees its own position alone."""

  def __call__(self, *args, mask=None, **kw):
    return attnjax.attend(*args, mask=masks.sliding_window(0), **kw)


def test_any_attention_can_be_injected():
  config = DecoderConfig(**SIZES)
  make = lambda attend: jax.eval_shape(
    lambda: DecoderLM(config, V, attend=attend, rngs=nnx.Rngs(0))
  )
  tree = jax.tree.structure(make(Blind()))
  model = decoder()
  blind = jax.tree.unflatten(tree, jax.tree.leaves(model))
  got = forward(blind, TOKENS)
  run = jax.jit(lambda m, x: m(x, mask=masks.sliding_window(0)))
  np.testing.assert_allclose(got, run(model, TOKENS), atol=1e-5)
  assert np.abs(got - forward(model, TOKENS)).max() > 1e-2


# --- parameters --------------------------------------------------------------


def test_starts_out_knowing_nothing():
  # The loss of a fresh model is that of a uniform guess, ln V.
  config = DecoderConfig(width=64, depth=2, heads=4, hidden=128)
  make = jax.jit(lambda key: DecoderLM(config, 512, rngs=nnx.Rngs(key)))
  model = make(jax.random.key(0))
  tokens, targets = np.random.default_rng(0).integers(0, 512, (2, 4, 32))
  loss = nll(forward(model, tokens), targets).mean()
  np.testing.assert_allclose(loss, np.log(512), atol=0.05)
  # No two layers start alike.
  kernel = np.asarray(model.blocks.attention.query.kernel[...])
  assert np.abs(kernel[0] - kernel[1]).min() > 0


def test_a_tied_table_is_one_leaf_with_the_gradients_of_both_uses(gradient):
  tied, untied = decoder(), decoder(tied=False)
  leaves = [len(jax.tree.leaves(m)) for m in (tied, untied)]
  assert leaves[1] == leaves[0] + 1
  for name in ("embed", "blocks", "norm"):
    setattr(untied, name, getattr(tied, name))
  untied.readout = tied.embed
  loss, grads = gradient(tied)
  loss_, grads_ = gradient(untied)
  np.testing.assert_allclose(loss, loss_, rtol=1e-6)
  tables = (grads_.embed, grads_.readout)
  both = [np.asarray(table.embedding[...]) for table in tables]
  assert all(np.abs(g).max() > 1e-3 for g in both)
  np.testing.assert_allclose(
    grads.embed.embedding[...], both[0] + both[1], atol=1e-5
  )


def counted(config, vocabulary):
  """Sizes of all parameters by path, of a model that is never made."""
  make = lambda: DecoderLM(config, vocabulary, rngs=nnx.Rngs(0))
  paths = jax.tree_util.tree_leaves_with_path(jax.eval_shape(make))
  return {jax.tree_util.keystr(path): leaf.size for path, leaf in paths}


@pytest.mark.parametrize(
  "options",
  [
    {},
    {"tied": False},
    {"activation": "swiglu"},
    {"activation": "squared_relu"},
    {"use_bias": True},
    {"norm": "layer"},
    {"norm": "layer", "use_bias": True, "activation": "swiglu"},
    {"kv_heads": None},
    {"kv_heads": 1, "use_bias": True},
    {"head_width": None, "width": 24},
    *({"positions": kind} for kind in KINDS),
    FULL,
  ],
  ids=str,
)
def test_parameters_are_as_many_as_the_formula_says(options):
  config = DecoderConfig(**(SIZES | options))
  expected = sum(counted(config, V).values())
  assert total(decoder_parameters(config, V)) == expected


def test_gpt2_small_has_its_published_size():
  config = PRESETS["gpt2_small"]().model
  parts = decoder_parameters(config, 50_257)
  assert total(parts) == 124_439_808
  assert sum(counted(config, 50_257).values()) == 124_439_808


def test_gpt3_has_its_published_matrices():
  config = PRESETS["gpt3"]().model
  sizes = counted(config, 50_257)
  attention = sum(n for path, n in sizes.items() if _matrix("attention", path))
  assert attention == 57_982_058_496
  parts = ("attention", "feed_forward", "embed", "readout")
  matrices = sum(
    n for path, n in sizes.items() if any(_matrix(p, path) for p in parts)
  )
  assert matrices == 175_181_291_520
  # Query, key, value down and value up of one head.
  query = next(n for path, n in sizes.items() if "query.kernel" in path)
  assert query == 96 * 96 * 1_572_864


def _matrix(part, path):
  """Is this the kernel or table of a part, `blocks.attention` or `embed`?"""
  inside = f".{part}." in path and "position_table" not in path
  return inside and (".kernel" in path or ".embedding" in path)


@pytest.mark.parametrize(
  ("options", "words"),
  [
    ({"head_width": None}, "heads=4 must divide width=10"),
    ({"kv_heads": 3}, "kv_heads=3 must divide heads=4"),
    ({"positions": "rope"}, r"positions must be one of .*rotary.*'rope'"),
    ({"norm": "batch"}, "norm must be one of rms, .*layer, got 'batch'"),
    ({"activation": "tanh"}, "activation must be one of .*gelu.*'tanh'"),
    ({"depth": 0}, "depth must be at least 1, got 0"),
  ],
)
def test_a_config_that_cannot_be(options, words):
  with pytest.raises(ValueError, match=words):
    decoder(**options)


def test_a_boolean_array_is_a_mask_of_a_decoder(plain):
  seen = np.tril(np.ones((T, T), bool))
  np.testing.assert_allclose(
    plain(jnp.asarray(TOKENS), mask=seen),
    forward(plain, TOKENS),
    rtol=1e-5,
    atol=1e-5,
  )
