"""Tokenizers: no byte is lost, no text forges a boundary."""

import json
import pickle
import subprocess
import sys
import time

import chex
import numpy as np
import pytest
import tokenizers
import tokenizers.pre_tokenizers
from hypothesis import example, given, settings
from hypothesis import strategies as st

from attnjax.data import (
  BpeTokenizer,
  ByteTokenizer,
  Tokenizer,
  bpe,
  load,
  load_tokenizer,
  show,
  train_bpe,
)
from attnjax.data.bpe import _alphabet

TEXTS = [document.text for document in load("english")[:23]]
BPE = train_bpe(TEXTS, 503)
EACH = pytest.mark.parametrize(
  "tokenizer", [ByteTokenizer(), BPE], ids=["bytes", "bpe"]
)


@EACH
@settings(deadline=None)
@given(text=st.binary() | st.text().map(str.encode))
@example(text=bytes(range(256)))
@example(text="Grüße, 世界 \U0001f30d\r\n\0".encode())
@example(text=b"<|endoftext|><|>")
def test_a_text_comes_back(tokenizer, text):
  ids = tokenizer.encode(text)
  chex.assert_rank(ids, 1)
  assert ids.dtype == np.int32
  assert tokenizer.decode(ids) == text
  assert b"".join(map(tokenizer.token_bytes, ids)) == text
  assert tokenizer.boundary not in ids
  assert ids.size == 0 or 0 <= ids.min() <= ids.max()
  assert ids.size == 0 or ids.max() < tokenizer.vocabulary_size


@EACH
def test_a_boundary_is_the_last_id_and_has_no_text(tokenizer):
  assert isinstance(tokenizer, Tokenizer)
  assert tokenizer.boundary == tokenizer.vocabulary_size - 1
  assert tokenizer.token_bytes(tokenizer.boundary) == b""
  assert tokenizer.decode(np.array([tokenizer.boundary] * 2)) == b""
  assert show(tokenizer, tokenizer.boundary) == "<|>"


@EACH
def test_every_token_has_a_text_of_its_own(tokenizer):
  strings = [tokenizer.token_bytes(n) for n in range(tokenizer.boundary)]
  assert len(set(strings)) == len(strings)
  assert {bytes([byte]) for byte in range(256)} <= set(strings)


@EACH
def test_it_is_the_same_after_a_save(tokenizer, tmp_path):
  tokenizer.save(tmp_path / "new folder")
  loaded = load_tokenizer(tmp_path / "new folder")
  assert loaded == tokenizer
  assert loaded.digest == tokenizer.digest
  chex.assert_trees_all_equal(
    loaded.encode(TEXTS[-1]), tokenizer.encode(TEXTS[-1])
  )
  assert pickle.loads(pickle.dumps(tokenizer)) == tokenizer


@EACH
@pytest.mark.parametrize("token", [-1, 1000])
def test_an_id_of_another_vocabulary_is_refused(tokenizer, token):
  with pytest.raises(ValueError, match="ids: expected integers in"):
    tokenizer.decode(np.array([1, token]))


def test_bytes_are_their_own_ids():
  tokenizer = ByteTokenizer()
  assert tokenizer.vocabulary_size == 257
  assert tokenizer.encode(b"\x00a\xff").tolist() == [0, 97, 255]
  assert tokenizer.digest == ByteTokenizer().digest


def test_bpe_learns_the_frequent_pairs_first():
  # By hand: "ab" comes 3 times, then "abc" twice; nothing more comes twice.
  tokenizer = train_bpe([b"ab", b"abc", b"abc"], 259)
  strings = [tokenizer.token_bytes(token) for token in (256, 257)]
  assert strings == [b"ab", b"abc"]
  assert tokenizer.boundary == 258
  assert tokenizer.encode(b"abcab").tolist() == [257, 256]


def test_bpe_shortens_the_text_it_learned():
  assert BPE.vocabulary_size == 503
  for text in TEXTS:
    assert len(BPE.encode(text)) < 0.7 * len(text)


def test_bpe_has_at_most_the_vocabulary_asked_for():
  assert train_bpe([b"ab"], 1000).vocabulary_size == 258


def test_bpe_encodes_a_long_text_in_pieces(monkeypatch):
  text = "".join(f"wörd{n} " for n in range(997)).encode() + b"\xff\xfe" * 31
  monkeypatch.setattr("attnjax.data.bpe._PIECE", 37)
  assert BPE.decode(BPE.encode(text)) == text


def test_bpe_alphabet_is_the_library_s():
  from tokenizers.pre_tokenizers import ByteLevel

  assert sorted(_alphabet().values()) == sorted(ByteLevel.alphabet())


@pytest.mark.slow
def test_bpe_is_the_same_in_another_process():
  code = (
    "from attnjax.data import load, train_bpe;"
    "texts = [document.text for document in load('english')[:23]];"
    "print(train_bpe(texts, 503).digest)"
  )
  result = subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True, check=True
  )
  assert result.stdout.strip() == BPE.digest


def test_other_texts_give_another_digest():
  assert train_bpe(TEXTS[:11], 503).digest != BPE.digest


def test_bpe_needs_room_for_the_bytes():
  with pytest.raises(ValueError, match="vocabulary_size: expected at least"):
    train_bpe(TEXTS, 256)


def test_bpe_names_its_extra(monkeypatch):
  monkeypatch.setitem(sys.modules, "tokenizers", None)
  with pytest.raises(ImportError, match=r"attnjax\[bpe\]"):
    train_bpe(TEXTS, 300)
  with pytest.raises(ImportError, match=r"attnjax\[bpe\]"):
    BpeTokenizer(BPE.model).encode(b"a")


@pytest.mark.parametrize("damage", ["", "{}", '{"kind": "words"}', "[1]"])
def test_a_damaged_file_is_refused(damage, tmp_path):
  (tmp_path / "tokenizer.json").write_text(damage)
  with pytest.raises(ValueError, match="is not a saved tokenizer"):
    load_tokenizer(tmp_path)


def test_a_missing_file_is_refused(tmp_path):
  with pytest.raises(ValueError, match=r"tokenizer\.json"):
    load_tokenizer(tmp_path)


def test_a_changed_vocabulary_is_refused(tmp_path):
  BPE.save(tmp_path)
  file = tmp_path / "tokenizer.json"
  saved = json.loads(file.read_text())
  saved["model"]["model"]["merges"].pop()
  file.write_text(json.dumps(saved))
  with pytest.raises(ValueError, match="was changed since it was saved"):
    load_tokenizer(tmp_path)


def test_tokens_are_shown_without_control_characters():
  shown = [show(ByteTokenizer(), token) for token in (97, 9, 0, 128)]
  assert shown == ["a", "\\t", "\\x00", "\\x80"]


def test_words_are_those_of_gpt2():
  parts = tokenizers.pre_tokenizers
  theirs = parts.ByteLevel(add_prefix_space=False)
  ours = bpe._pre_tokenizer(bpe._library())
  odd = "don't I'll  two   spaces\n\n\tx  été 漢字 a\u00a0b \u3000c ﬁ ½ ²"
  texts = [document.text.decode() for document in load("english")[:50]]
  for text in [odd, *texts]:
    expected = theirs.pre_tokenize_str(text)
    if max(len(word) for word, _ in expected) <= 128:
      assert ours.pre_tokenize_str(text) == expected


@pytest.mark.parametrize(
  "letters", ["acgt", "漢字語文", "0123456789", "!?*+", " ", "\n"]
)
def test_a_text_without_words_is_cut_in_pieces(letters):
  text = "".join(np.random.default_rng(0).choice([*letters], 1000))
  ours = bpe._pre_tokenizer(bpe._library())
  pieces = [end - start for _, (start, end) in ours.pre_tokenize_str(text)]
  assert max(pieces) == 128
  assert sum(pieces) == 1000
  # Bytes of whole characters: no piece begins in the middle of one.
  tokenizer = bpe.train_bpe([text.encode()], 300)
  assert tokenizer.decode(tokenizer.encode(text.encode())) == text.encode()


def test_a_text_without_spaces_is_learned_in_seconds():
  """0.3 s; before words had a limit 12 s, and four times that of twice it."""
  text = np.random.default_rng(0).choice([*b"acgt"], 200_000)
  began = time.process_time()
  bpe.train_bpe([bytes(text.tolist())], 2048)
  assert time.process_time() - began < 4
