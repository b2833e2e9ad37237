"""Laws of the encoder-decoder transformer, and that it learns."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attnjax import cache as caches
from attnjax.models import EncoderDecoder, EncoderDecoderConfig, translate
from tests import drawn
from tests.few import few
from tests.models import copying

SIZES = {
  "width": 12,
  "encoder_depth": 2,
  "decoder_depth": 3,
  "heads": 2,
  "hidden": 7,
  "max_length": 6,
  "dropout": 0.0,
}
FULL = {"positions": "learned", "norm": "layer", "use_bias": True}
FULL |= {"activation": "swiglu", "tied": False}
B, S, T, VS, V = 3, 6, 4, 11, 13
SOURCE = jnp.array(
  [[3, 1, 4, 1, 5, 9], [2, 10, 10, 10, 10, 10], [5, 3, 5, 8, 10, 10]]
)
LENGTHS = jnp.array([6, 1, 4])
TARGET = jnp.array([[0, 2, 7, 1], [0, 8, 2, 8], [0, 12, 11, 4]])


def network(vocabulary=V, source=VS, **options):
  config = EncoderDecoderConfig(**(SIZES | options))
  return drawn.module(
    lambda: EncoderDecoder(config, source, vocabulary, rngs=nnx.Rngs(0))
  )


@jax.jit
def forward(model, source, target, lengths):
  return model(source, target, source_lengths=lengths)


RELATIVE = {"positions": "relative", "buckets": 4, "max_distance": 3}
RELATIVE |= {"head_width": 5, "scale": 1.0, "readout_scale": 0.5}


# Rotary positions, the default, are those of the tests without a fixture.
@pytest.fixture(
  scope="module",
  params=few([FULL, {"positions": "sinusoidal"}, RELATIVE], FULL),
)
def model(request):
  return network(**request.param)


def test_no_logit_depends_on_a_later_target():
  # Each token occurs once, so a row of the table is the token of a place.
  target = jnp.arange(T)

  @jax.jit
  def jacobian(model):
    return jax.jacrev(lambda m: m(SOURCE[0], target))(model)

  change = jacobian(network(tied=False)).target_embed.embedding[...]
  reach = np.abs(np.asarray(change)[:, :, :T]).max((1, 3)) > 0
  np.testing.assert_array_equal(reach, np.tri(T, dtype=bool))


@pytest.mark.slow
def test_padding_of_the_source_has_no_say_and_no_gradient(model):
  before = forward(model, SOURCE, TARGET, LENGTHS)
  anything = SOURCE.at[1, 1:].set(-1).at[2, 4:].set(VS)
  np.testing.assert_array_equal(
    before, forward(model, anything, TARGET, LENGTHS)
  )

  @jax.jit
  def gradient(model, source):
    loss = lambda m: (m(source, TARGET, source_lengths=LENGTHS) ** 2).sum()
    return jax.grad(loss)(model)

  change = gradient(model, SOURCE)
  table = np.asarray(change.source_embed.embedding[...])
  assert (table[10] == 0).all()  # token 10 is nowhere but in the padding
  assert all((table[token] != 0).any() for token in (1, 2, 3, 4, 5, 8, 9))
  for leaf in jax.tree.leaves(gradient(model, anything)):
    assert np.isfinite(leaf).all()


@pytest.mark.parametrize("wrong", [-1, S + 1])
def test_a_length_that_is_traced_and_wrong_is_nan_in_its_row(model, wrong):
  before = forward(model, SOURCE, TARGET, LENGTHS)
  got = forward(model, SOURCE, TARGET, LENGTHS.at[1].set(wrong))
  assert np.isnan(got[1]).all()
  np.testing.assert_array_equal(got[::2], before[::2])


def test_a_row_is_the_same_in_any_company(model):
  together = forward(model, SOURCE, TARGET, LENGTHS)
  run = jax.jit(type(model).__call__)
  for row, n in enumerate(LENGTHS.tolist()):
    alone = run(model, SOURCE[row, :n], TARGET[row])
    np.testing.assert_allclose(together[row], alone, atol=2e-5)


def test_a_cache_has_the_logits_of_a_full_pass(model):
  whole = forward(model, SOURCE, TARGET, LENGTHS)
  memory = jax.jit(type(model).encode)(model, SOURCE, LENGTHS)
  step, decode = jax.jit(type(model).step), jax.jit(type(model).decode)
  state = model.init_state(memory, T)
  for t in range(T):
    logits, state = step(model, memory, state, TARGET[:, t])
    np.testing.assert_allclose(whole[:, t], logits, atol=2e-5)
  late, _ = step(model, memory, state, TARGET[:, 0])  # there is no room left
  assert np.isnan(late).all()
  logits, _ = decode(model, memory, model.init_state(memory, T), TARGET)
  np.testing.assert_allclose(whole, logits, atol=2e-5)


def test_a_cache_that_is_full_says_so():
  model = network()
  memory = model.encode(SOURCE, LENGTHS)
  with pytest.raises(ValueError, match=r"4 positions do not fit .* of 3"):
    model.decode(memory, model.init_state(memory, 3), TARGET)


def test_aux_is_of_every_layer_and_hides_what_it_should():
  run = jax.jit(
    lambda m: m(SOURCE, TARGET, source_lengths=LENGTHS, aux=("weights",))
  )
  model = network()
  logits, aux = run(model)
  expected = forward(model, SOURCE, TARGET, LENGTHS)
  np.testing.assert_allclose(logits, expected, atol=2e-5)
  real = np.arange(S) < np.asarray(LENGTHS)[:, None]
  for weights, shape in (
    (aux.encoder.weights, (2, B, 2, S, S)),
    (aux.decoder.weights, (3, B, 2, T, T)),
    (aux.cross.weights, (3, B, 2, T, S)),
  ):
    assert weights.shape == shape
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-5)
  for weights in (aux.encoder.weights, aux.cross.weights):
    seen = (np.asarray(weights) > 0).any((0, 2, 3))
    np.testing.assert_array_equal(seen, real)
  assert (np.triu(np.asarray(aux.decoder.weights), 1) == 0).all()


def test_one_table_may_embed_both_and_read_out():
  leaves = lambda **kw: len(jax.tree.leaves(network(source=V, **kw)))
  assert leaves(shared=True) == leaves() - 1 == leaves(tied=False) - 2
  model = network(source=V, shared=True)
  assert forward(model, SOURCE, TARGET, LENGTHS).shape == (B, T, V)
  with pytest.raises(ValueError, match="one vocabulary, got 11 and 13 tokens"):
    network(shared=True)


@pytest.mark.slow
def test_dropout_is_a_function_of_its_key_and_of_training_alone():
  model = network(dropout=0.5)
  run = jax.jit(
    lambda m, key: m(SOURCE, TARGET, source_lengths=LENGTHS, dropout_key=key)
  )
  one, two = (run(model, jax.random.key(seed)) for seed in (1, 2))
  np.testing.assert_array_equal(one, run(model, jax.random.key(1)))
  assert np.abs(one - two).max() > 0.05
  np.testing.assert_array_equal(
    forward(model, SOURCE, TARGET, LENGTHS),
    forward(network(), SOURCE, TARGET, LENGTHS),
  )


@pytest.mark.slow
def test_starts_out_knowing_nothing():
  config = EncoderDecoderConfig(64, 1, 1, hidden=64)
  make = lambda key: EncoderDecoder(config, 300, 300, rngs=nnx.Rngs(key))
  model = jax.jit(make)(jax.random.key(0))
  source, target = np.random.default_rng(0).integers(0, 300, (2, 5, 9))
  logits = forward(model, jnp.asarray(source), jnp.asarray(target), None)
  log = jax.nn.log_softmax(logits)
  np.testing.assert_allclose(-log.mean(), np.log(300), atol=0.05)


@pytest.mark.slow  # as `Seq2Seq` does, on the same words
def test_learns_to_reverse_a_few_words():
  config = EncoderDecoderConfig(16, 1, 1, heads=2, hidden=32, dropout=0.0)
  sizes = (config, copying.V, copying.V)
  make = jax.jit(lambda key: EncoderDecoder(*sizes, rngs=nnx.Rngs(key)))
  data = copying.batch()
  model, loss = copying.learn(make(jax.random.key(0)), data)
  assert loss < 0.05
  source, lengths, _, says, _ = data
  found = translate(
    model, source, lengths, beams=3, start=0, end=copying.END, max_length=5
  )
  np.testing.assert_array_equal(found.tokens[:, 0], says)
  np.testing.assert_array_equal(found.lengths[:, 0], lengths)


@pytest.mark.slow
def test_a_beam_takes_its_caches_with_it():
  # Scores of a wide beam are those of the sequences it has found.
  model = network(vocabulary=5)
  options = {"start": 0, "end": 1, "max_length": 4}
  found = translate(model, SOURCE, LENGTHS, beams=4, **options)
  assert isinstance(
    model.init_state(model.encode(SOURCE, LENGTHS), 4), caches.KeyValueCache
  )
  for k in range(4):
    says = found.tokens[:, k]
    reads = jnp.concatenate([jnp.zeros((B, 1), jnp.int32), says[:, :-1]], 1)
    log = jax.nn.log_softmax(forward(model, SOURCE, reads, LENGTHS))
    each = np.take_along_axis(np.asarray(log), np.asarray(says)[..., None], 2)
    counted = np.arange(4) <= np.asarray(found.lengths[:, k])[:, None]
    total = np.where(counted, each[..., 0], 0).sum(-1)
    np.testing.assert_allclose(found.scores[:, k], total, atol=1e-4)


@pytest.mark.parametrize(
  ("options", "words"),
  [
    ({"heads": 5}, "heads=5 must divide width=12"),
    ({"positions": "alibi"}, r"positions must be one of .*rotary.*'alibi'"),
    ({"heads": 4}, "rotary positions have pairs .* got 3"),
    ({"decoder_depth": 0}, "decoder_depth must be at least 1, got 0"),
    ({"dropout": -0.1}, r"dropout must be in \[0, 1\), got -0.1"),
  ],
)
def test_a_config_that_cannot_be(options, words):
  with pytest.raises(ValueError, match=words):
    EncoderDecoderConfig(**(SIZES | options))


def test_more_tokens_than_learned_positions():
  model, long = network(**FULL), jnp.zeros((1, 7), jnp.int32)
  words = "7 tokens outgrow the 6 learned positions; raise max_length"
  with pytest.raises(ValueError, match=words):
    model(long, TARGET[:1])
  with pytest.raises(ValueError, match=words):
    model(SOURCE[:1], long)
  with pytest.raises(ValueError, match=words):
    model.init_state(model.encode(SOURCE[:1]), 7)
