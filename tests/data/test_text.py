"""A text made ready, from its config to its rows."""

import dataclasses

import numpy as np
import pytest

from attnjax.data import Document, TextConfig, load, load_text, train_bpe

CONFIG = TextConfig(length=67)
DATA = load_text(CONFIG)


def _read(packed) -> np.ndarray:
  """The tokens that count, in their order."""
  rows = list(packed)
  targets = np.concatenate([row["targets"] for row in rows])
  return targets[np.concatenate([row["weights"] for row in rows]) == 1]


def _text(documents) -> bytes:
  return b"".join(document.text for document in documents)


@pytest.mark.parametrize(
  "changes",
  [
    {},
    pytest.param({"evaluation_stride": 0.5}, marks=pytest.mark.slow),
    {"tokenizer": "bpe", "vocabulary": 307, "evaluation_stride": 0.1},
  ],
)
def test_rows_hold_both_texts_whole(changes):
  data = load_text(dataclasses.replace(CONFIG, **changes))
  decode = data.tokenizer.decode
  assert decode(_read(data.packed_train)) == _text(data.train)
  assert decode(_read(data.packed_heldout)) == _text(data.heldout)
  assert data.train_bytes == len(_text(data.train))
  assert data.heldout_bytes == len(_text(data.heldout))
  assert data.train_tokens == len(_read(data.packed_train))
  assert data.heldout_tokens == len(_read(data.packed_heldout))


def test_the_two_sides_are_the_corpus():
  both = {d.text for d in DATA.train} | {d.text for d in DATA.heldout}
  assert both == {d.text for d in load("english")}
  assert len(both) == len(DATA.train) + len(DATA.heldout)


def test_the_stride_is_a_fraction_of_the_length():
  data = load_text(dataclasses.replace(CONFIG, evaluation_stride=0.5))
  assert data.packed_heldout.stride == round(67 / 2)
  assert data.packed_train.stride == 67


def test_bpe_learns_from_the_training_side_alone():
  config = dataclasses.replace(CONFIG, tokenizer="bpe", vocabulary=307)
  data = load_text(config)
  texts = [document.text for document in data.train]
  assert data.tokenizer == train_bpe(texts, 307)
  texts += [document.text for document in data.heldout]
  assert data.tokenizer != train_bpe(texts, 307)


def test_the_digest_is_that_of_the_rows():
  same = load_text(dataclasses.replace(CONFIG, seed=3, batch_size=5))
  assert same.digest == DATA.digest
  others = [
    {"length": 71},
    {"heldout_fraction": 0.2},
    {"evaluation_stride": 0.5},
    {"tokenizer": "bpe", "vocabulary": 307},
  ]
  digests = {
    load_text(dataclasses.replace(CONFIG, **change)).digest for change in others
  }
  assert len(digests | {DATA.digest}) == 5


def test_a_file_of_the_user_s_is_cut_in_two(tmp_path):
  text = b"".join(b"Paragraph %d.\n\n" % number for number in range(997))
  (tmp_path / "book.txt").write_bytes(text)
  path = str(tmp_path / "book.txt")
  data = load_text(TextConfig(path=path, length=67))
  assert data.train[0].text + data.heldout[0].text == text
  assert data.heldout[0].text.startswith(b"Paragraph ")


def test_a_held_out_text_that_others_quote_is_told(tmp_path, monkeypatch):
  lines = []
  monkeypatch.setattr(
    "absl.logging.warning", lambda text, *args: lines.append(text % args)
  )
  load_text(CONFIG)
  assert not lines
  for number in range(7):
    text = b"The same long line stands in every file.\n" * 9 + b"%d" % number
    (tmp_path / f"{number}.txt").write_bytes(text)
  load_text(TextConfig(path=str(tmp_path), length=67))
  assert "1 of 1 held-out documents share more than 10%" in lines[0]


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"tokenizer": "words"}, "tokenizer must be one of bytes, bpe"),
    ({"evaluation_stride": 0.0}, "evaluation_stride"),
    ({"evaluation_stride": 1.5}, "evaluation_stride"),
    ({"corpus": "englsh"}, "did you mean english"),
    ({"length": 10**6}, "the training text .* fewer than one sequence"),
    ({"length": 10**5}, "the held-out text .* larger heldout_fraction"),
  ],
)
def test_what_cannot_be_is_refused(changes, message):
  with pytest.raises(ValueError, match=message):
    load_text(dataclasses.replace(CONFIG, **changes))


def test_documents_are_those_of_the_corpus():
  assert all(isinstance(d, Document) for d in DATA.train + DATA.heldout)
