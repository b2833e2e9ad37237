"""The split: nothing on both sides, and nothing decided by chance."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnjax.data import Document, load, shared_lines, split


def _documents(texts) -> list[Document]:
  return [Document(str(number), text) for number, text in enumerate(texts)]


def _texts(documents) -> list[bytes]:
  return sorted(document.text for document in documents)


def _size(documents) -> int:
  return sum(len(document.text) for document in documents)


@settings(deadline=None)
@given(
  st.lists(st.binary(min_size=1), min_size=2, unique=True),
  st.floats(0.01, 0.99),
)
def test_each_document_is_on_one_side(texts, fraction):
  train, heldout = split(_documents(texts), fraction)
  assert _texts(train + heldout) == sorted(texts)
  assert train
  assert heldout


@pytest.mark.parametrize(
  ("corpus", "fraction"), [("english", 0.1), ("python", 0.05)]
)
def test_about_the_fraction_is_held_out(corpus, fraction):
  train, heldout = split(load(corpus), fraction)
  part = _size(heldout) / _size(train + heldout)
  assert 0.9 * fraction <= part <= fraction
  assert max(len(d.text) for d in heldout) < 0.3 * _size(heldout)


def test_duplicates_are_dropped_so_that_none_leaks():
  texts = [bytes([65 + n]) * 20 for n in range(11)]
  train, heldout = split(_documents(texts * 3), 0.3)
  assert _texts(train + heldout) == sorted(texts)
  assert not set(_texts(train)) & set(_texts(heldout))


def test_neither_order_nor_names_decide():
  texts = [bytes([n]) * (n + 1) for n in range(101)]
  expected = [_texts(side) for side in split(_documents(texts), 0.2)]
  random.Random(0).shuffle(texts)
  assert [_texts(side) for side in split(_documents(texts), 0.2)] == expected


def test_sides_are_sorted_by_name():
  for side in split(load("english"), 0.2):
    assert [d.name for d in side] == sorted(d.name for d in side)


def test_a_quotation_is_not_held_out_while_there_are_originals():
  quoted = [b"a sentence that two documents share %d\n" % n for n in range(7)]
  copies = [quoted[n] + b"-- and a word %d" % n for n in range(7)] + quoted
  own = [b"a sentence that stands in one document, %d" % n for n in range(7)]
  _, heldout = split(_documents(copies + own), 0.3)
  assert len(heldout) > 3
  assert set(_texts(heldout)) <= set(own)


@pytest.mark.parametrize(
  ("corpus", "fraction"), [("english", 0.1), ("python", 0.05)]
)
def test_the_corpora_have_enough_of_their_own_to_hold_out(corpus, fraction):
  train, heldout = split(load(corpus), fraction)
  shares = shared_lines([*heldout, *train])
  assert max(shares[: len(heldout)]) <= 0.1
  # Were it not for the rule, the held-out side would be like the rest.
  assert max(shares) > 0.9


def test_one_document_is_cut_at_the_blank_line_nearest():
  paragraph = b"line one\nline two\n\n"
  text = paragraph * 100
  [train], [heldout] = split([Document("book", text)], 0.1)
  assert train.text + heldout.text == text
  assert heldout.text == paragraph * 10
  assert heldout.name == f"book[{90 * len(paragraph)}:]"


def test_one_document_without_blank_lines_is_cut_at_a_line():
  [train], [heldout] = split([Document("table", b"1,2,3\n" * 50)], 0.1)
  assert train.text == b"1,2,3\n" * 45
  assert heldout.text == b"1,2,3\n" * 5


def test_one_line_is_not_cut_inside_a_character():
  text = ("€" * 100).encode()  # three bytes each
  for fraction in (0.1, 0.101, 0.105):
    for side in split([Document("line", text)], fraction):
      side[0].text.decode()


def test_copies_of_one_document_are_one_document():
  [train], [heldout] = split(_documents([b"a\n" * 50] * 3), 0.1)
  assert len(train.text) + len(heldout.text) == 100


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, float("nan")])
def test_a_fraction_outside_is_refused(fraction):
  with pytest.raises(ValueError, match="heldout_fraction"):
    split(_documents([b"a", b"b"]), fraction)


def test_too_little_text_is_refused_with_a_remedy():
  with pytest.raises(ValueError, match="split it into several files"):
    split([Document("note", b"a")], 0.1)
  with pytest.raises(ValueError, match="got none"):
    split([Document("nothing", b"")], 0.1)
