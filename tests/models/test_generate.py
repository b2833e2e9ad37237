"""Generation equals the slow way to do it, and draws what it says it draws."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import attnjax
from attnjax.models import (
  DecoderConfig,
  DecoderLM,
  MemoryLM,
  MemoryLMConfig,
  generate,
  sample,
)
from tests import drawn
from tests.few import few
from tests.models.small import KINDS, SIZES, V, decoder, forward

B, T, N = 2, 4, 5
PROMPT = jnp.array([[3, 1, 4, 1], [5, 9, 2, 6]], jnp.int32)
KEY = jax.random.key(0)


MASK = np.array([[False, False, True, True], [True] * 4])


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


@pytest.mark.parametrize("kind", few(KINDS, "rotary"))
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


PADDED = {  # the first two tokens of row 0, and padding that is no token
  "left": ([-1, V, 3, 1], [0, 0, 1, 1]),
  "right": ([3, 1, -1, V], [1, 1, 0, 0]),
  "between": ([-1, 3, V, 1], [0, 1, 0, 1]),
}


@pytest.mark.parametrize("kind", ["rotary", "learned"])
def test_padding_anywhere_is_as_if_there_were_none(kind):
  model = decoder(positions=kind)
  alone = greedy(model, PROMPT, lengths=jnp.array([2, 4]))
  assert (alone[0] != greedy(model, PROMPT)[0]).any()
  for row, real in PADDED.values():
    prompt = jnp.array([row, PROMPT[1].tolist()], jnp.int32)
    for mask in (np.array([real, [1] * 4]), jnp.array([real, [1] * 4]) == 1):
      got = greedy(model, prompt, prompt_mask=mask)
      np.testing.assert_array_equal(got, alone)


def test_padding_said_by_a_mask_leaves_room_among_learned_positions():
  model = decoder(positions="learned")  # 17 of them
  wide = jnp.concatenate([jnp.zeros((2, 9), jnp.int32), PROMPT], axis=1)
  mask = np.arange(13)[None] >= 9
  got = greedy(model, wide, prompt_mask=np.tile(mask, (2, 1)))
  np.testing.assert_array_equal(got, greedy(model, PROMPT))


def test_lengths_and_masks_that_are_traced_draw_no_token_where_wrong():
  model = decoder()
  by_length = jax.jit(lambda n: greedy(model, PROMPT, lengths=n))
  right = greedy(model, PROMPT, lengths=jnp.array([2, 4]))
  for first in (0, 5, -1):
    got = by_length(jnp.array([first, 4]))
    assert (got[0] == -1).all()
    np.testing.assert_array_equal(got[1], right[1])
  by_mask = jax.jit(lambda m: greedy(model, PROMPT, prompt_mask=m))
  got = by_mask(jnp.array([[1, 1, 0, 0], [1, 2, 1, 1]]))
  np.testing.assert_array_equal(got[0], right[0])
  assert (got[1] == -1).all()


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
    {"temperature": 1.0, "top_p": 0.9, "top_k": 7},
    {"temperature": 0.0, "top_p": 0.1, "top_k": 2},
    {
      "temperature": 2.5,
      "top_p": 1.0,
      "top_k": 1,
      "lengths": jnp.array([1, 3]),
    },
  ]
  seen = []
  for seed, kw in enumerate(options):
    model, key = drawn.module(make, seed=seed), jax.random.key(seed)
    generate(model, (PROMPT + seed) % V, steps=N, key=key, **kw)
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


@pytest.mark.slow
def test_a_row_stops_at_any_of_several_tokens_and_repeats_that_one():
  model = decoder()
  free = np.asarray(greedy(model, PROMPT))
  first, second = free[0, 1].item(), free[1, 2].item()
  for stop in ([first, second], np.array([second, first, first]), (first,), []):
    got = np.asarray(greedy(model, PROMPT, stop=stop))
    for before, after in zip(free, got, strict=True):
      hits = np.flatnonzero(np.isin(before, stop))
      end = hits[0] if len(hits) else N - 1
      np.testing.assert_array_equal(after[: end + 1], before[: end + 1])
      assert (after[end:] == before[end]).all() or not len(hits)
  one = greedy(model, PROMPT, stop=first)
  np.testing.assert_array_equal(one, greedy(model, PROMPT, stop=[first]))


@pytest.mark.slow
def test_rows_have_options_of_their_own():
  model = decoder()
  draw = lambda **kw: np.asarray(
    generate(model, PROMPT, steps=N, key=KEY, **kw)
  )
  hot, cold = draw(temperature=4.0), draw(temperature=0.0)
  assert (hot != cold).any(1).all()
  for name, values in (
    ("temperature", [0.0, 4.0]),
    ("top_k", [1, V]),
    ("top_p", [1e-6, 1.0]),
  ):
    kw = {"temperature": 4.0, name: np.array(values)}
    np.testing.assert_array_equal(draw(**kw), [cold[0], hot[1]])


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
    ({"temperature": -0.1}, "temperature must be finite and >= 0, got -0.1"),
    ({"temperature": np.inf}, "temperature must be finite and >= 0, got inf"),
    ({"temperature": [1.0, np.nan]}, "temperature must be .* got nan"),
    (
      {"temperature": [1.0]},
      r"temperature must be .* \[2\] numbers, one a row",
    ),
    ({"top_k": [1, 0]}, "top_k must be within 1 and .* 13, got 0"),
    ({"top_k": 1.0}, "top_k must be within 1 and .* got 1.0"),
    ({"top_p": [[0.5], [0.5]]}, r"top_p must be in \(0, 1\]: one number, or"),
    ({"top_p": [0.5, 0.0]}, r"top_p must be in \(0, 1\], got 0.0"),
    ({"stop": [3, V]}, "stop must be a token of the vocabulary of 13, got 13"),
    ({"stop": 1.0}, "stop must be a token or a list of tokens.*got 1.0"),
    ({"stop": [[1, 2]]}, "stop must be a token or a list of tokens"),
    (
      {"prompt_mask": MASK[:1]},
      r"prompt_mask must be .*\[2, 4\].*bool\[1, 4\]",
    ),
    ({"prompt_mask": MASK * 1.0}, "prompt_mask must be booleans .* float"),
    ({"prompt_mask": MASK * 2}, "must be 1 where a token is real .* got 2"),
    ({"prompt_mask": MASK & False}, r"within 1 and the prompt's 4.*\[0, 0\]"),
    (
      {"prompt_mask": MASK, "lengths": jnp.array([2, 4])},
      "lengths and prompt_mask both say what is padding",
    ),
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
def test_logits_that_hide_every_token_say_so():
  hidden = jnp.array([[0.0, -jnp.inf], [-jnp.inf, -jnp.inf]])
  for kw in ({}, {"temperature": 0.0}, {"top_k": 1, "top_p": 0.5}):
    with pytest.raises(ValueError, match=r"a token to draw .*in row \[1\]"):
      sample(hidden, KEY, **kw)
    with pytest.raises(ValueError, match="got -inf for all of them;"):
      sample(hidden[1], KEY, **kw)
    draw = jax.jit(lambda x, kw=kw: sample(x, KEY, **kw))
    assert draw(hidden).tolist() == [0, -1]


@pytest.mark.parametrize(
  ("name", "wrong"),
  [
    ("temperature", -1.0),
    ("temperature", np.nan),
    ("top_p", 1.5),
    ("top_p", 0.0),
    ("top_k", 0),
    ("top_k", 5),
  ],
)
def test_options_that_are_traced_draw_no_token_where_wrong(name, wrong):
  rows = jnp.stack([LOGITS, LOGITS])
  option = jnp.array([wrong, 1])
  draw = jax.jit(lambda x: sample(rows, KEY, **{name: x}))
  assert draw(option)[0] == -1
  assert draw(option)[1] >= 0


def test_a_memory_reads_prompts_of_one_length_without_their_padding():
  config = MemoryLMConfig(
    architecture="memory", rule="delta_net", width=8, depth=1, heads=2, hidden=8
  )
  model = drawn.module(lambda: MemoryLM(config, V, rngs=nnx.Rngs(0)))
  wide = jnp.pad(PROMPT, [(0, 0), (3, 0)])
  mask = np.tile(np.arange(7) >= 3, (2, 1))
  got = greedy(model, wide, prompt_mask=mask)
  np.testing.assert_array_equal(got, greedy(model, PROMPT))
  with pytest.raises(ValueError, match=r"as long as the others.*\[2, 4\]"):
    greedy(model, PROMPT, prompt_mask=MASK)


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
