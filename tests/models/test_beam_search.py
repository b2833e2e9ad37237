"""The beam against greedy search, and against trying every sequence."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attnjax.models import (
  Seq2Seq,
  Seq2SeqConfig,
  beam_search,
  greedy,
  translate,
)
from attnjax.ops.pytree_dataclass import pytree_dataclass
from tests import drawn

START, END, V, N = 0, 3, 4, 3


@pytree_dataclass
class Table:
  """A model of two tokens back: log p(next | row, token before, token)."""

  log: jax.Array  # B V V V

  def __call__(self, state, tokens):
    row, before = state
    log = self.log[row, before, tokens]
    return log, (row, tokens)


def table(batch=2, seed=0, scale=1.5):
  logits = np.random.default_rng(seed).normal(size=(batch, V, V, V)) * scale
  return Table(jax.nn.log_softmax(jnp.asarray(logits, jnp.float32)))


def begin(batch, beams=1):
  """The state before the first token: which source a row has, and START."""
  row = jnp.repeat(jnp.arange(batch), beams)
  return row, jnp.full(batch * beams, START)


OPTIONS = {"start": START, "end": END, "max_length": N}


@jax.jit
def _greedy(step, state):
  return greedy(step, state, batch=len(state[0]), **OPTIONS)


def beam(step, batch=2, beams=1, **options):
  settings = OPTIONS | {"batch": batch, "beams": beams} | options
  run = jax.jit(lambda step, state: beam_search(step, state, **settings))
  return run(step, begin(batch, beams))


def score(step, row, tokens, penalty):
  """Log-probability of one sequence, over its length factor."""
  log, before, last = np.asarray(step.log[row], np.float64), START, START
  total = 0.0
  for token in tokens:
    total += log[before, last, token]
    before, last = last, token
  return total / ((5 + len(tokens)) / 6) ** penalty


def every_sequence(step, row, penalty=0.0):
  """(score, tokens), best first: those that end, and those of full length."""
  others = [token for token in range(V) if token != END]
  for n in range(N + 1):
    for tokens in itertools.product(others, repeat=n):
      whole = [*tokens, END] if n < N else [*tokens]
      yield score(step, row, whole, penalty), whole


def padded(tokens):
  return tokens + [END] * (N - len(tokens))


@pytest.mark.parametrize("penalty", [0.0, 1.0, 3.0])
def test_a_beam_that_holds_all_sequences_finds_the_best_in_order(penalty):
  step = table()
  found = beam(step, beams=V**N, length_penalty=penalty)
  for row in range(2):
    expected = sorted(every_sequence(step, row, penalty), reverse=True)
    count = len(expected)
    got = found.scores[row, :count]
    np.testing.assert_allclose(got, [s for s, _ in expected], atol=1e-5)
    best = [padded(tokens) for _, tokens in expected[:5]]
    np.testing.assert_array_equal(found.tokens[row, :5], best)
    lengths = [len(t) - (END in t) for _, t in expected[:5]]
    np.testing.assert_array_equal(found.lengths[row, :5], lengths)
    # There are no more sequences than that.
    assert (np.asarray(found.scores[row, count:]) == -np.inf).all()


@pytest.mark.slow
def test_one_beam_is_greedy():
  differ = 0
  for seed in range(5):
    step = table(seed=seed)
    one, plain = beam(step), _greedy(step, begin(2))
    np.testing.assert_array_equal(one.tokens[:, 0], plain.tokens)
    np.testing.assert_array_equal(one.lengths[:, 0], plain.lengths)
    np.testing.assert_allclose(one.scores[:, 0], plain.scores, atol=1e-6)
    wide = beam(step, beams=4)
    assert (wide.scores[:, 0] >= plain.scores - 1e-6).all()
    differ += int((wide.tokens[:, 0] != plain.tokens).any())
  assert differ  # or the beam has found nothing that greedy has not


def test_the_score_is_the_probability_of_the_sequence():
  step = table()
  found = beam(step, beams=3, length_penalty=0.7)
  for row, k in itertools.product(range(2), range(3)):
    n = int(found.lengths[row, k])
    tokens = found.tokens[row, k].tolist()[: n + 1]
    expected = score(step, row, tokens, 0.7)
    np.testing.assert_allclose(found.scores[row, k], expected, atol=1e-5)
    assert found.tokens[row, k].tolist() == padded(tokens[:n])


def test_a_row_is_the_same_in_any_company():
  step = table(batch=3)
  together = beam(step, batch=3, beams=2)
  for row in range(3):
    alone = beam(Table(step.log[row : row + 1]), batch=1, beams=2)
    np.testing.assert_array_equal(together.tokens[row], alone.tokens[0])


def certain(*path):
  """A model that says one sequence, whatever it has read."""
  log = np.full((1, V, V, V), -np.inf, np.float32)
  before, last = START, START
  for token in path:
    log[0, before, last, token] = 0
    before, last = last, token
  return Table(jnp.asarray(log))


def test_what_has_ended_stays_as_it_is():
  log = jnp.log(jnp.array([0.1, 0.1, 0.1, 0.7]))
  step = Table(jnp.broadcast_to(log[None, None, None], (1, V, V, V)))
  short = beam(step, batch=1, beams=2, max_length=1)
  long = beam(step, batch=1, beams=2, max_length=6)
  assert long.tokens[0, 0].tolist() == [END] * 6
  assert int(long.lengths[0, 0]) == 0
  np.testing.assert_allclose(short.scores[0, 0], long.scores[0, 0])
  assert bool((long.tokens[0, 1] == END).sum() >= 5)


def test_the_end_may_never_come():
  for found in (
    beam(certain(2, 1, 2), batch=1, beams=2),
    _greedy(certain(2, 1, 2), begin(1)),
  ):
    assert found.tokens.reshape(-1, N)[0].tolist() == [2, 1, 2]
    assert int(found.lengths.reshape(-1)[0]) == N
    assert float(found.scores.reshape(-1)[0]) == 0


def test_a_penalty_of_length_favours_long_sequences():
  step = table(batch=6, scale=0.5)
  mean = [
    float(beam(step, 6, V**N, length_penalty=p).lengths[:, 0].mean())
    for p in (0.0, 4.0)
  ]
  assert mean[0] < mean[1]


def test_no_number_in_the_scores_is_seen_in_the_result():
  step = Table(table().log.at[1].set(jnp.nan))
  found = beam(step, beams=2)
  assert np.isfinite(found.scores[0]).all()
  assert np.isnan(found.scores[1, 0])


@pytest.fixture(scope="module")
def model():
  config = Seq2SeqConfig(5, 6, depth=2)
  return drawn.module(
    lambda: Seq2Seq(config, 7, 5, rngs=nnx.Rngs(0)), scale=1.0
  )


@pytest.mark.slow
def test_a_model_is_searched_as_its_teacher_forced_logits_say(model):
  source, lengths = jnp.array([[2, 6, 1], [4, 3, 0]]), jnp.array([3, 2])
  options = {"start": 0, "end": 1, "max_length": 3}
  found = translate(model, source, lengths, beams=5**3, **options)
  others = (0, 2, 3, 4)
  texts = [
    [*t, 1] for n in (0, 1, 2) for t in itertools.product(others, repeat=n)
  ]
  texts += [list(t) for t in itertools.product(others, repeat=3)]
  whole = jnp.array([t + [1] * (3 - len(t)) for t in texts])
  reads = jnp.concatenate([jnp.zeros_like(whole[:, :1]), whole[:, :-1]], axis=1)
  mask = np.arange(3) < np.array([len(t) for t in texts])[:, None]
  run = jax.jit(lambda m, x, n: m(x, reads, source_lengths=n))
  for row in range(2):
    x = jnp.repeat(source[row : row + 1], len(texts), axis=0)
    log = jax.nn.log_softmax(
      run(model, x, jnp.repeat(lengths[row], len(texts)))
    )
    each = jnp.take_along_axis(log, whole[..., None], axis=-1)[..., 0]
    totals = np.where(mask, each, 0).sum(-1)
    best = np.argsort(-totals)[:4]
    np.testing.assert_array_equal(found.tokens[row, :4], whole[best])
    np.testing.assert_allclose(found.scores[row, :4], totals[best], atol=1e-4)


@pytest.mark.parametrize(
  ("options", "words"),
  [
    ({"beams": 0}, "needs beams >= 1, .* got 0, 2 and 0.0"),
    ({"length_penalty": -1.0}, "length_penalty >= 0, got 1, 2 and -1.0"),
    ({"end": V}, "end must be a token of the vocabulary of 4, got 4"),
    ({"start": -1}, "start must be a token of the vocabulary of 4, got -1"),
    ({"max_length": 0}, "max_length must be at least 1, got 0"),
  ],
)
def test_options_that_cannot_be(options, words):
  with pytest.raises(ValueError, match=words):
    beam(table(), **options)


def test_steps_that_do_not_fit():
  flat = lambda state, tokens: (jnp.zeros(V), state)
  with pytest.raises(ValueError, match=r"shape \[2, V\], .* got \[4\]"):
    beam_search(flat, (), batch=2, beams=1, **OPTIONS)
  grows = lambda state, tokens: (jnp.zeros((2, V)), (state, state))
  with pytest.raises(ValueError, match="a state of the shapes it was given"):
    greedy(grows, jnp.zeros(2), batch=2, **OPTIONS)
