"""Generation equals the slow way to do it, and draws what it says it draws."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import attnjax
from attnjax.models import DecoderConfig, DecoderLM, generate, sample
from tests import drawn
from tests.models.small import KINDS, SIZES, V, decoder, forward

B, T, N = 2, 4, 5
PROMPT = jnp.array([[3, 1, 4, 1], [5, 9, 2, 6]], jnp.int32)
KEY = jax.random.key(0)


def greedy(model, prompt, steps=N, **kw):
  return generate(model, prompt, steps=steps, key=KEY, temperature=0.0, **kw)


def slowly(model, prompt, steps=N):
  """Greedy without a cache: the whole text again for every token."""
  rows, length = prompt.shape
  # What stands after the end of the text has no say: the model is causal.
  text = np.zeros((rows, length + steps), np.int32)
  text[:, :length] = prompt
  for t in range(length, length + steps):
    text[:, t] = forward(model, text)[:, t - 1].argmax(-1)
  return text[:, length:]


@pytest.mark.parametrize("kind", KINDS)
def test_a_cache_says_what_no_cache_says(kind):
  model = decoder(positions=kind)
  expected = slowly(model, PROMPT)
  assert len(set(expected.ravel().tolist())) > 1  # it is not stuck on a token
  np.testing.assert_array_equal(greedy(model, PROMPT), expected)


@pytest.mark.parametrize("kind", ["rotary", "learned"])
def test_a_short_prompt_among_long_ones_is_as_alone(kind):
  model, lengths = decoder(positions=kind), jnp.array([2, 4])
  together = np.asarray(greedy(model, PROMPT, lengths=lengths))
  short, long = (slowly(model, PROMPT[:, :n]) for n in (2, 4))
  np.testing.assert_array_equal(together, np.stack([short[0], long[1]]))
  # Padding may be anything, no token at all included.
  padded = jnp.array([[3, 1, -1, V], [5, 9, 2, 6]], jnp.int32)
  np.testing.assert_array_equal(
    greedy(model, padded, lengths=lengths), together
  )


@dataclasses.dataclass(frozen=True)
class Counting:
  """The usual attention, which counts how often it is traced."""

  def __call__(self, *args, **kw):
    TRACES.append(1)
    return attnjax.attend(*args, **kw)


TRACES: list[int] = []


def test_compiles_once():
  config = DecoderConfig(**SIZES)
  make = lambda: DecoderLM(config, V, attend=Counting(), rngs=nnx.Rngs(0))
  options = [
    {"temperature": 1.0, "top_p": 0.9},
    {"temperature": 0.0, "top_p": 0.1},
    {"temperature": 2.5, "top_p": 1.0, "lengths": jnp.array([1, 3])},
  ]
  seen = []
  for seed, kw in enumerate(options):
    model, key = drawn.module(make, seed=seed), jax.random.key(seed)
    generate(model, (PROMPT + seed) % V, steps=N, key=key, top_k=7, **kw)
    seen.append(len(TRACES))
  assert seen[0] > 0
  assert seen == seen[:1] * 3


@pytest.fixture(scope="module")
def drawing():
  """What one model draws with a key."""
  model = decoder()
  return lambda key, **kw: np.asarray(
    generate(model, PROMPT, steps=N, key=jax.random.key(key), **kw)
  )


def test_draws_follow_the_key_alone(drawing):
  np.testing.assert_array_equal(drawing(1), drawing(1))
  assert (drawing(1) != drawing(2)).any()


def test_temperature_zero_draws_nothing(drawing):
  cold = drawing(1, temperature=0.0)
  np.testing.assert_array_equal(cold, drawing(2, temperature=0.0))
  assert (cold != drawing(1, temperature=1e-3)).sum() == 0
  assert (cold != drawing(1, temperature=9.0)).any()


def test_a_row_repeats_the_token_it_stopped_at_and_top_1_is_greedy():
  model = decoder()
  free = np.asarray(greedy(model, PROMPT))
  stop = int(free[0, 1])
  # One candidate is greedy at any temperature.
  stopped = generate(model, PROMPT, steps=N, key=KEY, top_k=1, stop=stop)
  for before, after in zip(free, np.asarray(stopped), strict=True):
    hits = np.flatnonzero(before == stop)
    first = hits[0] if len(hits) else N
    np.testing.assert_array_equal(after[:first], before[:first])
    assert (after[first:] == stop).all()


LOGITS = np.log(np.array([0.05, 0.4, 0.2, 0.35], np.float32))
DRAWS = 4_000


DRAW = jax.jit(sample, static_argnames="top_k")


def frequencies(logits, **kw):
  """How often each token is drawn."""
  rows = np.broadcast_to(logits, (DRAWS, *logits.shape))
  drawn = DRAW(rows, KEY, **{"temperature": 1.0, **kw})
  return np.bincount(drawn, minlength=len(logits)) / DRAWS


@pytest.mark.parametrize(
  ("kw", "expected"),
  [
    ({}, [0.05, 0.4, 0.2, 0.35]),
    ({"temperature": 0.5}, [0.0025, 0.16, 0.04, 0.1225]),
    ({"temperature": 0.0}, [0, 1, 0, 0]),
    ({"top_k": 1}, [0, 1, 0, 0]),
    ({"top_k": 2}, [0, 0.4, 0, 0.35]),
    ({"top_k": 4}, [0.05, 0.4, 0.2, 0.35]),
    # The fewest tokens that reach p: 0.4, 0.75, 0.95, 1.
    ({"top_p": 0.39}, [0, 1, 0, 0]),
    ({"top_p": 0.41}, [0, 0.4, 0, 0.35]),
    ({"top_p": 0.74}, [0, 0.4, 0, 0.35]),
    ({"top_p": 0.76}, [0, 0.4, 0.2, 0.35]),
    ({"top_p": 1.0}, [0.05, 0.4, 0.2, 0.35]),
    # p is of what top_k has left: 0.4 / 0.75 alone reaches 0.5.
    ({"top_k": 2, "top_p": 0.5}, [0, 1, 0, 0]),
  ],
  ids=str,
)
def test_frequencies_are_those_of_the_softmax(kw, expected):
  expected = np.array(expected) / np.sum(expected)
  got = frequencies(LOGITS, **kw)
  # Four standard errors of a frequency, and none at all of what is cut.
  error = 4 * np.sqrt(expected * (1 - expected) / DRAWS)
  assert (np.abs(got - expected) <= error).all(), got


def test_top_k_keeps_exactly_k_of_equals():
  drawn = frequencies(np.array([1, 3, 3, 3], np.float32), top_k=2)
  assert (drawn > 0).tolist() == [False, True, True, False]


def test_rows_are_drawn_apart():
  drawn = DRAW(np.zeros((DRAWS, 4), np.float32), KEY, temperature=1.0)
  assert len(set(drawn.tolist())) == 4


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize(
  ("kw", "words"),
  [
    ({"temperature": -0.1}, "temperature must be >= 0, got -0.1"),
    ({"top_k": 0}, "top_k must be within 1 and the vocabulary of 13, got 0"),
    ({"top_k": V + 1}, "top_k must be within 1 .* 13, got 14"),
    ({"top_p": 0.0}, r"top_p must be in \(0, 1\], got 0.0"),
    ({"top_p": 1.5}, r"top_p must be in \(0, 1\], got 1.5"),
    ({"steps": 0}, "steps >= 1, got 4 tokens and steps=0"),
    ({"prompt": PROMPT[:, :0]}, "at least 1 token .* got 0 tokens"),
    ({"steps": 14}, r"4 \+ 14 tokens outgrow the 17 learned positions"),
    ({"lengths": jnp.array([0, 4])}, r"within 1 and the prompt's 4.*\[0, 4\]"),
    ({"lengths": jnp.array([5, 4])}, r"within 1 and the prompt's 4.*\[5, 4\]"),
    ({"lengths": jnp.array([4])}, r"lengths must have shape \[2\].*got \[1\]"),
    ({"stop": V}, "stop must be a token of the vocabulary of 13, got 13"),
    (
      {"prompt": PROMPT.at[1, 2].set(V)},
      "prompt holds 13, which is no token of the vocabulary of 13",
    ),
    ({"stop": -1}, "stop must be a token of the vocabulary of 13, got -1"),
    (
      {"prompt": PROMPT[0]},
      r"have the axes B T, got \[4\]; .*prompt\[None",
    ),
  ],
)
def test_options_out_of_range(kw, words):
  kw = {"prompt": PROMPT, "steps": N, "key": KEY} | kw
  with pytest.raises(ValueError, match=words):
    generate(decoder(positions="learned"), **kw)


@pytest.mark.usefixtures("as_a_user")
def test_lists_and_numpy_integers_are_taken_as_arrays_are():
  model = decoder(positions="learned")
  lengths, stop = [2, 4], np.int32(3)
  found = generate(
    model, PROMPT.tolist(), steps=N, key=KEY, lengths=lengths, stop=stop
  )
  expected = generate(
    model, PROMPT, steps=N, key=KEY, lengths=jnp.array(lengths), stop=3
  )
  np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_few_bits_draw_as_many_do(dtype):
  logits = jnp.log(jnp.array([0.9, *[0.1 / 50] * 50])).astype(dtype)
  keys = jax.random.split(KEY, 20_000)
  draw = jax.jit(jax.vmap(lambda key: sample(logits, key)))
  few = np.mean(draw(keys) != 0)
  share = 1 - float(jax.nn.softmax(logits.astype(jnp.float32))[0])
  assert abs(few - share) < 4 * np.sqrt(share * (1 - share) / len(keys))
  cold = sample(logits, KEY, temperature=1e-8)
  assert int(cold) == 0
