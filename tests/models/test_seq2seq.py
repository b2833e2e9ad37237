"""Laws of the recurrent encoder-decoder, and that it learns."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attnjax.models import Seq2Seq, Seq2SeqConfig, translate
from tests import drawn
from tests.few import few
from tests.models import copying

SIZES = {"width": 5, "hidden": 6, "depth": 2, "dropout": 0.0}
# That "general" prepares and scores as it should, tests/nn shows.
KINDS = ("additive", "dot", "none")
B, S, T, VS, V = 3, 6, 4, 11, 13
SOURCE = jnp.array(
  [[3, 1, 4, 1, 5, 9], [2, 10, 10, 10, 10, 10], [5, 3, 5, 8, 10, 10]]
)
LENGTHS = jnp.array([6, 1, 4])
TARGET = jnp.array([[0, 2, 7, 1], [0, 8, 2, 8], [0, 12, 11, 4]])


def seq2seq(attention="additive", **options):
  config = Seq2SeqConfig(**(SIZES | {"attention": attention} | options))
  return drawn.module(lambda: Seq2Seq(config, VS, V, rngs=nnx.Rngs(0)))


@jax.jit
def forward(model, source, target, lengths):
  return model(source, target, source_lengths=lengths)


@pytest.fixture(scope="module", params=few(KINDS, "additive"))
def model(request):
  return seq2seq(request.param)


def test_no_logit_depends_on_a_later_target(model):
  # Each token occurs once, so a row of the table is the token of a place.
  target = jnp.arange(T)

  @jax.jit
  def jacobian(model):
    return jax.jacrev(lambda m: m(SOURCE[0], target))(model)

  change = np.asarray(jacobian(model).target_embed.embedding[...])
  reach = np.abs(change[:, :, :T]).max((1, 3)) > 0
  np.testing.assert_array_equal(reach, np.tri(T, dtype=bool))


@pytest.mark.slow
def test_padding_of_the_source_has_no_say_and_no_gradient(model):
  before = forward(model, SOURCE, TARGET, LENGTHS)
  anything = SOURCE.at[1, 1:].set(-1).at[2, 4:].set(VS)
  np.testing.assert_array_equal(
    before, forward(model, anything, TARGET, LENGTHS)
  )

  @jax.jit
  def gradient(model):
    loss = lambda m: (m(SOURCE, TARGET, source_lengths=LENGTHS) ** 2).sum()
    return jax.grad(loss)(model)

  change = np.asarray(gradient(model).source_embed.embedding[...])
  assert (change[10] == 0).all()  # token 10 is nowhere but in the padding
  assert all((change[token] != 0).any() for token in (1, 2, 3, 4, 5, 8, 9))


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
    np.testing.assert_allclose(together[row], alone, atol=1e-5)


def test_steps_say_what_teacher_forcing_says(model):
  whole = forward(model, SOURCE, TARGET, LENGTHS)
  memory = model.encode(SOURCE, LENGTHS)
  state, step = model.init_state(memory, T), jax.jit(type(model).step)
  for t in range(T):
    logits, state = step(model, memory, state, TARGET[:, t])
    np.testing.assert_allclose(whole[:, t], logits, atol=1e-5)


@pytest.mark.parametrize("kind", few(["additive", "general"], "general"))
def test_weights_are_of_each_step_and_hide_padding(kind):
  model = seq2seq(kind)

  @jax.jit
  def run(model):
    asked = ("weights", "logsumexp")
    return model(SOURCE, TARGET, source_lengths=LENGTHS, aux=asked)

  logits, aux = run(model)
  expected = forward(model, SOURCE, TARGET, LENGTHS)
  np.testing.assert_allclose(logits, expected, atol=1e-5)
  weights = np.asarray(aux.weights)
  assert weights.shape == (B, 1, T, S)
  assert aux.logsumexp.shape == (B, 1, T)
  assert aux.entropy is None
  np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-5)
  real = np.arange(S) < np.asarray(LENGTHS)[:, None]
  np.testing.assert_array_equal((weights > 0).all((1, 2)), real)
  np.testing.assert_array_equal((weights > 0).any((1, 2)), real)
  # The state that asks is another at each step.
  assert np.abs(np.diff(weights[0, 0], axis=0)).max() > 1e-4


def test_a_fixed_vector_is_all_that_the_baseline_knows():
  model = seq2seq("none")
  memory = model.encode(SOURCE, LENGTHS)
  assert memory.keys is None
  forgotten = type(memory)(
    jnp.full_like(memory.outputs, jnp.nan), None, memory.last, memory.lengths
  )
  for one in (memory, forgotten):
    state = model.init_state(one, T)
    logits, _ = model.step(one, state, TARGET[:, 0])
    np.testing.assert_allclose(
      logits, forward(model, SOURCE, TARGET, LENGTHS)[:, 0], atol=1e-5
    )
  with pytest.raises(ValueError, match='attention="none"; choose another'):
    model(SOURCE, TARGET, aux=("weights",))


def test_the_baseline_differs_by_the_rule_alone():
  kinds = (*KINDS, "general")
  sizes = {k: len(jax.tree.leaves(seq2seq(k))) for k in kinds}
  assert sizes["dot"] == sizes["none"] == sizes["general"] - 1
  assert sizes["additive"] == sizes["none"] + 3


@pytest.mark.parametrize(
  "options",
  few([{"depth": 1}, {"depth": 3}, {"bidirectional": False}], {"depth": 3}),
  ids=str,
)
def test_other_sizes(options):
  model = seq2seq(**options)
  whole = forward(model, SOURCE, TARGET, LENGTHS)

  @jax.jit
  def first(model):
    memory = model.encode(SOURCE, LENGTHS)
    return model.step(memory, model.init_state(memory, T), TARGET[:, 0])

  logits, state = first(model)
  np.testing.assert_allclose(whole[:, 0], logits, atol=1e-5)
  assert state.shape == (model.config.depth, B, 6)


def test_dropout_is_a_function_of_its_key_and_of_training_alone():
  model = seq2seq(dropout=0.5)
  run = jax.jit(
    lambda m, key: m(SOURCE, TARGET, source_lengths=LENGTHS, dropout_key=key)
  )
  one, two = (run(model, jax.random.key(seed)) for seed in (1, 2))
  np.testing.assert_array_equal(one, run(model, jax.random.key(1)))
  assert np.abs(one - two).max() > 0.05
  np.testing.assert_array_equal(
    forward(model, SOURCE, TARGET, LENGTHS),
    forward(seq2seq(), SOURCE, TARGET, LENGTHS),
  )


@pytest.mark.slow
def test_starts_out_knowing_nothing():
  source, target = np.random.default_rng(0).integers(0, 300, (2, 5, 9))

  @jax.jit
  def logits():
    model = Seq2Seq(Seq2SeqConfig(64, 64), 300, 300, rngs=nnx.Rngs(0))
    return model(jnp.asarray(source), jnp.asarray(target))

  log = jax.nn.log_softmax(logits())
  np.testing.assert_allclose(-log.mean(), np.log(300), atol=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_learns_to_reverse_a_few_words(kind):
  config = Seq2SeqConfig(16, 32, depth=1, attention=kind, dropout=0.0)
  make = jax.jit(
    lambda: Seq2Seq(config, copying.V, copying.V, rngs=nnx.Rngs(0))
  )
  data = copying.batch()
  model, loss = copying.learn(make(), data)
  assert loss < 0.05
  source, lengths, _, says, _ = data
  found = translate(
    model, source, lengths, beams=2, start=0, end=copying.END, max_length=5
  )
  np.testing.assert_array_equal(found.tokens[:, 0], says)
  np.testing.assert_array_equal(found.lengths[:, 0], lengths)


@pytest.mark.parametrize(
  ("options", "words"),
  [
    ({"hidden": 7}, "hidden width, which must be even, got 7"),
    ({"depth": 0}, "depth must be at least 1, got 0"),
    ({"attention": "cosine"}, r"attention must be one of .*none.*'cosine'"),
    ({"dropout": 1.0}, r"dropout must be in \[0, 1\), got 1.0"),
  ],
)
def test_a_config_that_cannot_be(options, words):
  with pytest.raises(ValueError, match=words):
    Seq2SeqConfig(**options)


def test_lengths_that_do_not_fit():
  with pytest.raises(
    ValueError, match=r"within 0 and the 6 .* got \[6, 7, 1\]"
  ):
    seq2seq()(SOURCE, TARGET, source_lengths=jnp.array([6, 7, 1]))
  with pytest.raises(ValueError, match=r"and the 6 .* got \[9, -3, 4\]"):
    translate(
      seq2seq(),
      SOURCE,
      jnp.array([9, -3, 4]),
      start=0,
      end=1,
      max_length=2,
    )
