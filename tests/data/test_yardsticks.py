"""Yardsticks: hand-made numbers, a dictionary's counts, and laws."""

import math
import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnjax.data import Document, load, split, yardsticks
from attnjax.data.ngrams import (
  add_k,
  evidence,
  interpolate,
  ngrams,
  shorten,
)
from attnjax.data.yardsticks import xz

NAMES = ["unigram", "bigram", "5-gram", "5-gram interpolated"]
TEXTS = st.lists(st.text("abc", max_size=13).map(str.encode), min_size=1)
SYMBOLS = st.sampled_from([*b"abcd", 256])
CONTEXTS = st.lists(SYMBOLS, min_size=4, max_size=4)


def _documents(*texts) -> list[Document]:
  return [Document(str(number), text) for number, text in enumerate(texts)]


def _key(*symbols) -> np.ndarray:
  """One n-gram, oldest symbol first; 256 is before the document."""
  key = 0
  for symbol in symbols:
    key = key << 9 | symbol
  return np.array([key], np.uint64)


def _noise(size: int, seed: int) -> bytes:
  return random.Random(seed).randbytes(size)


def test_counts_by_hand():
  table = ngrams(_documents(b"aab", b"ab"), 2)
  a, b = b"ab"
  keys = [_key(a, a), _key(a, b), _key(256, a)]
  assert table.keys.tolist() == np.concatenate(keys).tolist()
  assert table.counts.tolist() == [1, 2, 2]  # b never comes before a


@settings(deadline=None)
@given(TEXTS, st.integers(1, 7))
def test_counts_are_those_of_a_dictionary(texts, order):
  expected = Counter()
  for text in texts:
    padded = [256] * (order - 1) + list(text)
    for place in range(len(text)):
      expected[int(_key(*padded[place : place + order])[0])] += 1
  table = ngrams(_documents(*texts), order)
  found = dict(zip(table.keys.tolist(), table.counts.tolist(), strict=True))
  assert found == expected
  for shorter in range(1, order):
    direct = ngrams(_documents(*texts), shorter)
    derived = shorten(table, shorter)
    assert direct.keys.tolist() == derived.keys.tolist()
    assert direct.counts.tolist() == derived.counts.tolist()


def test_add_k_by_hand():
  table = ngrams(_documents(b"aab"), 2)
  a, b, c = b"abc"

  def p(key, k):
    return add_k(evidence(table, key), k)[0]

  assert p(_key(a, a), 0.5) == pytest.approx(1.5 / (2 + 128))
  assert p(_key(256, a), 1.0) == pytest.approx(2 / (1 + 256))
  assert p(_key(b, a), 1.0) == pytest.approx(1 / 256)  # nothing followed b
  assert p(_key(a, c), 1.0) == pytest.approx(1 / (2 + 256))


def test_interpolation_by_hand():
  table = ngrams(_documents(b"aab"), 2)
  a, b = b"ab"

  def p(key):
    return interpolate(evidence(table, key), [1.0, 2.0])[0]

  # p_1(a) = (2 + 1/256) / (3 + 1) = 513/1024
  assert p(_key(a, a)) == pytest.approx((1 + 2 * 513 / 1024) / (2 + 2))
  assert p(_key(b, a)) == pytest.approx(513 / 1024)  # b is no known context


@settings(deadline=None)
@given(TEXTS, CONTEXTS)
def test_probabilities_sum_to_one_after_any_context(texts, context):
  table = ngrams(_documents(*texts), 5)
  queries = np.concatenate([_key(*context, byte) for byte in range(256)])
  found = evidence(table, queries)
  for probabilities in (
    add_k(found, 0.01),
    interpolate(found, [0.5, 2.0, 1.0, 4.0, 0.1]),
  ):
    assert probabilities.sum() == pytest.approx(1)
    assert probabilities.min() > 0


def test_bits_by_hand():
  # Whatever the smoothing fitted on it, a text of one letter is p(a) -> 1.
  letter = _documents(*(b"a" * n for n in range(90, 110)))
  bits = yardsticks(letter, _documents(b"a" * 50))
  assert bits["uniform"] == 8
  assert all(bits[name] < 0.02 for name in NAMES)


def test_unigram_by_hand():
  # Ten texts of one a and one b: p(a) = (10 + k) / (20 + 256 k), k tiny.
  train = _documents(*(b"ab" + b"ab" * n for n in range(10)))
  k = 2.0**-16
  count = 55
  expected = -math.log2((count + k) / (2 * count + 256 * k))
  bits = yardsticks(train, _documents(b"a" * 7))
  assert bits["unigram"] == pytest.approx(expected, abs=1e-9)


@pytest.mark.slow
def test_smoothing_does_not_look_at_the_held_out_text():
  # If it did, the bits of two texts would not be those of each, added up.
  train, heldout = split(load("english"), 0.3)
  one, two = heldout[::2], heldout[1::2]
  bits, first, second = (
    yardsticks(train, side) for side in (heldout, one, two)
  )
  sizes = [sum(len(d.text) for d in side) for side in (one, two)]
  for name in NAMES:
    both = np.average([first[name], second[name]], weights=sizes)
    assert bits[name] == pytest.approx(both)


def test_noise_costs_eight_bits():
  texts = [_noise(2003, seed) for seed in range(11)]
  bits = yardsticks(_documents(*texts[:-1]), _documents(texts[-1]))
  for name, value in bits.items():
    # The unigram pays for the counts it was given by chance.
    assert 7.99 < value < 8.1, name


def test_longer_contexts_need_fewer_bits_on_language():
  train, heldout = split(load("english"), 0.1)
  bits = yardsticks(train, heldout)
  order = ["uniform", "unigram", "bigram", "5-gram", "5-gram interpolated"]
  values = [bits[name] for name in order]
  assert values == sorted(values, reverse=True)
  assert min(values) > 1
  assert 1 < bits["xz"] < bits["bigram"]


def test_a_document_does_not_see_the_one_before():
  # If it did, the second of two equal documents would cost something else.
  train = _documents(*(b"xb"[n % 2 :] * (n + 1) for n in range(40)))
  together = yardsticks(train, _documents(b"xb", b"xb"))
  alone = yardsticks(train, _documents(b"xb"))
  for name in NAMES:
    assert together[name] == pytest.approx(alone[name])


@pytest.mark.slow
def test_the_same_texts_give_the_same_numbers():
  train, heldout = split(load("english"), 0.1)
  assert yardsticks(train, heldout) == yardsticks(train[::-1], heldout) | {
    "xz": xz(train, heldout)
  }


def test_xz_finds_what_it_has_seen():
  seen, new = _documents(_noise(5003, 1)), _documents(_noise(5003, 2))
  assert xz(seen, seen) < 0.2
  assert 7.9 < xz(seen, new) < 8.2


@pytest.mark.parametrize("side", ["train", "heldout"])
def test_a_side_without_text_is_refused(side):
  sides = {"train": _documents(b"ab", b"cd"), "heldout": _documents(b"ab")}
  with pytest.raises(ValueError, match=side):
    yardsticks(**{**sides, side: _documents(b"")})


def test_a_context_too_long_is_refused():
  with pytest.raises(ValueError, match="order"):
    ngrams(_documents(b"ab"), 8)
