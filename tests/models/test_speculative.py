"""A draft changes how fast a text is written, and not which text."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attnjax.models import MemoryLM, MemoryLMConfig, generate
from attnjax.models.speculative import acceptance, residual, verify
from tests import drawn
from tests.few import few
from tests.models.small import V, decoder, forward

KEY = jax.random.key(0)
PROMPT = jnp.array([[3, 1, 4, 1], [5, 9, 2, 6]], jnp.int32)
N = 9
MIXED = {"window": 3, "layers": ("window", "window", "full")}


def written(model, draft=None, prompt=PROMPT, **kw):
  kw = {"steps": N, "key": KEY, "temperature": 0.0} | kw
  return generate(model, prompt, draft=draft, **kw)


def tables(seed, count=2, vocabulary=3):
  """Next-token probabilities of Markov models, after each token."""
  rng = np.random.default_rng(seed)
  return rng.dirichlet(np.full(vocabulary, 0.6), (count, vocabulary))


@pytest.mark.parametrize("seed", range(4))
def test_the_next_tokens_are_distributed_as_the_model_has_it(seed):
  """All texts that a round of two drafts may give, with their probabilities."""
  p, q = tables(seed)
  if seed == 0:
    q[0] = p[0]  # nothing is ever refused
    p[1], q[1] = [0, 0, 1], [0.5, 0.5, 0]  # and all of it
  keep = np.asarray(acceptance(jnp.array(p), jnp.array(q)), np.float64)
  anew = np.asarray(residual(jnp.array(p), jnp.array(q)), np.float64)
  found = np.zeros((3, 3, 3))  # of the next three tokens, after token 0
  later = p[:, :, None] * p[None]  # of two tokens of the model alone
  for a, b, c in itertools.product(range(3), repeat=3):
    # Both are kept, then p has the third.
    found[a, b, c] += q[0, a] * keep[0, a] * q[a, b] * keep[a, b] * p[b, c]
    # The second is refused; what follows is drawn in later rounds.
    refused = 1 - (q[a] * keep[a]).sum()
    found[a, b, c] += q[0, a] * keep[0, a] * refused * anew[a, b] * p[b, c]
    # The first is.
    refused = 1 - (q[0] * keep[0]).sum()
    found[a, b, c] += refused * anew[0, a] * later[a, b, c]
  np.testing.assert_allclose(found, p[0][:, None, None] * later, atol=1e-6)


def test_verify_draws_by_these_probabilities():
  """The frequencies of each outcome of `verify` are those of its parts."""
  model, q = (jnp.array(x, jnp.float32) for x in tables(7))
  rows = 20_000
  tokens = jnp.tile(jnp.array([1, 2], jnp.int32), (rows, 1))
  spread = lambda x: jnp.broadcast_to(x, (rows, *x.shape))
  for offered in (2, 1, 0):
    accepted, token = jax.jit(verify)(
      spread(model),
      spread(q[:2]),
      tokens,
      KEY,
      offered=jnp.full(rows, offered),
    )
    got = np.zeros((3, 3))
    np.add.at(got, (np.asarray(accepted), np.asarray(token)), 1 / rows)
    keep = np.asarray(acceptance(model[:2], q[:2]))[[0, 1], [1, 2]]
    anew = np.asarray(residual(model[:2], q[:2]))
    expected, reached = np.zeros((3, 3)), 1.0
    for n in range(offered):
      expected[n] = reached * (1 - keep[n]) * anew[n]
      reached *= keep[n]
    expected[offered] = reached * model[offered]
    error = 4 * np.sqrt(expected * (1 - expected) / rows) + 1e-9
    assert (np.abs(got - expected) <= error).all(), got - expected


@pytest.mark.slow
@pytest.mark.parametrize("seed", few(range(3), 0))
def test_whole_texts_are_distributed_as_without_a_draft(seed):
  """Against the probability of every text of a tiny vocabulary."""
  rows, steps, vocabulary = 6_000, 3, 3
  small = {"depth": 1, "width": 8, "head_width": 4, "positions": "none"}
  model, draft = (
    decoder(vocabulary, **small, hidden=hidden) for hidden in (7, 5)
  )
  texts = np.array([*itertools.product(range(vocabulary), repeat=steps)])
  options = {"temperature": 1.7, "top_k": 2} if seed == 2 else {}
  whole = np.concatenate([np.full((len(texts), 1), seed), texts], axis=1)
  logits = forward(model, whole)[:, :steps] / options.get("temperature", 1.0)
  if options:
    second = np.sort(logits)[..., [-2]]
    logits = np.where(logits >= second, logits, -np.inf)
  p = np.asarray(jax.nn.softmax(logits))
  expected = np.take_along_axis(p, texts[..., None], -1)[..., 0].prod(-1)

  prompt = jnp.full((rows, 1), seed, jnp.int32)
  found = written(
    model,
    draft,
    prompt,
    ahead=2,
    steps=steps,
    **({"temperature": 1.0} | options),
  )
  # It refuses some and keeps some, or this would show nothing.
  share = found.accepted.sum() / found.offered.sum()
  assert 0.1 < share < 0.99, share
  places = found.tokens @ np.array([9, 3, 1])
  got = np.bincount(np.asarray(places), minlength=27) / rows
  error = 4 * np.sqrt(expected * (1 - expected) / rows) + 1e-9
  assert (np.abs(got - expected) <= error).all(), got - expected


CASES = {
  "rotary": {},
  "learned": {"positions": "learned", "max_length": 13},
  "mixed": MIXED,
  "windows": {"window": 3},
}


@pytest.mark.parametrize("ahead", few((1, 3, 8), 3))
@pytest.mark.parametrize("name", few(CASES, "rotary"))
def test_greedy_texts_are_those_without_a_draft(name, ahead):
  model = decoder(**CASES[name])
  draft = decoder(**CASES[name], hidden=5)
  # Rows of their own length, and padding that is no token.
  prompt = PROMPT.at[1, 2].set(V)
  lengths = jnp.array([4, 2])
  alone = written(model, prompt=prompt, lengths=lengths)
  got = written(model, draft, prompt, lengths=lengths, ahead=ahead)
  np.testing.assert_array_equal(got.tokens, alone)
  assert (got.accepted < got.offered).all()

  own = written(model, model, prompt, lengths=lengths, ahead=ahead)
  np.testing.assert_array_equal(own.tokens, alone)
  np.testing.assert_array_equal(own.accepted, own.offered)
  # One token a round is the model's own, and the first is of no round.
  rounds = -(-(N - 1) // (ahead + 1))
  np.testing.assert_array_equal(own.accepted, N - 1 - rounds)


@pytest.mark.slow
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_draft_proposes_no_more_than_there_is_room_for(steps):
  model, one = decoder(depth=1), PROMPT[:, :1]
  alone = written(model, prompt=one, steps=steps)
  found = written(model, model, one, steps=steps, ahead=9)
  np.testing.assert_array_equal(found.tokens, alone)
  # The first token, and one of a round, are the model's own.
  assert (np.asarray(found.offered) == max(0, steps - 2)).all()


@pytest.mark.slow
def test_a_drafted_row_stops_where_it_would_without():
  model, draft = decoder(), decoder(hidden=5)
  free = np.asarray(written(model))
  for stop in (free[0, 0].item(), [free[0, 3].item(), free[1, 5].item()]):
    alone = written(model, stop=stop)
    for helper in (draft, model):
      got = written(model, helper, stop=stop)
      np.testing.assert_array_equal(got.tokens, alone)
  assert (alone[0, 4:] == alone[0, 3]).all()


@pytest.mark.slow
def test_each_row_has_options_of_its_own():
  model, draft = decoder(), decoder(hidden=5)
  got = written(
    model, draft, temperature=np.array([0.0, 5.0]), top_p=np.array([1.0, 0.9])
  )
  cold = written(model)
  np.testing.assert_array_equal(got.tokens[0], cold[0])
  assert (got.tokens[1] != cold[1]).any()


@pytest.mark.slow
def test_a_traced_row_that_is_wrong_has_no_token():
  model, draft = decoder(), decoder(hidden=5)
  run = jax.jit(lambda n: written(model, draft, lengths=n).tokens)
  got = run(jnp.array([9, 4]))
  assert (got[0] == -1).all()
  np.testing.assert_array_equal(got[1], written(model)[1])


def test_a_draft_that_does_not_fit():
  model = decoder()
  memory = MemoryLMConfig(
    architecture="memory", rule="delta_net", width=8, depth=1, heads=2, hidden=8
  )
  with pytest.raises(
    ValueError, match=r"vocabulary of the model, of 13.*got 5"
  ):
    written(model, decoder(5))
  with pytest.raises(ValueError, match="ahead must be >= 1, got 0"):
    written(model, model, ahead=0)
  short = decoder(positions="learned", max_length=7)
  with pytest.raises(ValueError, match="4 \\+ 9 tokens outgrow the 7 learned"):
    written(model, short)
  remembers = drawn.module(lambda: MemoryLM(memory, V, rngs=nnx.Rngs(0)))
  with pytest.raises(NotImplementedError, match="draft must be a DecoderLM"):
    written(model, remembers)
