"""Tokenizers of published models, and files of theirs that are none."""

import json

import numpy as np
import pytest

from attnjax.models import PublishedTokenizer, load, save
from tests.models.small_llama import V, one_word, published_tensors, write

safetensors = pytest.importorskip("safetensors.numpy")


def test_a_tokenizer_comes_along(tmp_path):
  tokenizers = pytest.importorskip("tokenizers")
  pytest.importorskip("jinja2")
  words = {word: i for i, word in enumerate(["a", "b", "c", "<s>", "</s>"])}
  engine = tokenizers.Tokenizer(
    tokenizers.models.WordLevel(words, unk_token="c")
  )
  engine.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
  folder = write(tmp_path / "one", published_tensors(), eos_token_id=[4, 0])
  engine.save(str(folder / "tokenizer.json"))
  template = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'tool' %}"
    "{{ raise_exception('no tools') }}{% endif %}{{ m.role }}: {{ m.content }}"
    "\n{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
  )
  about = {"chat_template": template, "bos_token": {"content": "<s>"}}
  (folder / "tokenizer_config.json").write_text(json.dumps(about))

  model, one = load(folder)
  save(tmp_path / "two", model, one)
  _, two = load(tmp_path / "two")
  for tokenizer in (one, two):
    assert tokenizer.encode("b a b").tolist() == [1, 0, 1]
    assert tokenizer.decode(np.array([1, 0])) == "b a"
    assert (tokenizer.vocabulary_size, tokenizer.stop) == (5, (4, 0))
    chat = tokenizer.chat([{"role": "user", "content": "a"}])
    assert chat == "<s>user: a\nassistant:"
    with pytest.raises(ValueError, match="refuses: no tools"):
      tokenizer.chat([{"role": "tool", "content": "a"}])

  # One of a larger model.
  engine.add_tokens([f"more{i}" for i in range(V)])
  engine.save(str(folder / "tokenizer.json"))
  with pytest.raises(ValueError, match=r"has the token 15, and the model only"):
    load(folder)
  larger = PublishedTokenizer(engine)
  with pytest.raises(ValueError, match="save: tokenizer has the token 15, and"):
    save(tmp_path / "three", model, larger)
  assert not (tmp_path / "three").exists()


def test_no_token_is_no_text():
  tokenizer = one_word()
  with pytest.raises(ValueError, match="tokens must be >= 0, got -1"):
    tokenizer.decode(np.array([0, -1]))


@pytest.mark.parametrize(
  ("name", "values", "words"),
  [
    ("tokenizer_config.json", {"bos_token": 3}, "bos_token must be a text"),
    ("tokenizer_config.json", {"pad_token": ["a"]}, "pad_token must be a text"),
    ("tokenizer_config.json", {"eos_token": {}}, "eos_token must be a text"),
    ("tokenizer_config.json", {"chat_template": 3}, "chat_template must be a"),
    (
      "tokenizer_config.json",
      {"chat_template": [{"name": "default"}]},
      "chat_template must be a text, or a list of texts with a name and",
    ),
    ("generation_config.json", {"eos_token_id": "2"}, "eos_token_id must be"),
    ("generation_config.json", {"eos_token_id": [1.0]}, "eos_token_id must be"),
    ("config.json", {"eos_token_id": True}, "eos_token_id must be a token or"),
    ("tokenizer.json", {"model": 3}, "is no tokenizer"),
    ("tokenizer.json", {}, "is no tokenizer"),
  ],
)
def test_a_field_of_another_kind_is_named(name, values, words, tmp_path):
  one_word().write(tmp_path)
  (tmp_path / name).write_text(json.dumps(values))
  with pytest.raises(ValueError, match=f"{name}:? {words}"):
    PublishedTokenizer.read(tmp_path, V)


@pytest.mark.parametrize("text", ["{", "[1]", "null", ""])
@pytest.mark.parametrize(
  "name", ["tokenizer.json", "tokenizer_config.json", "generation_config.json"]
)
def test_a_file_that_is_no_object_is_named(name, text, tmp_path):
  one_word().write(tmp_path)
  (tmp_path / name).write_text(text)
  with pytest.raises(ValueError, match=f"{name} (cannot|must|is no)"):
    PublishedTokenizer.read(tmp_path, V)


def test_choices_are_no_special_tokens(tmp_path):
  one_word().write(tmp_path)
  about = {
    "add_bos_token": True,
    "bos_token": {"content": "a"},
    "unk_token": None,
    "image_token": "b",
    "chat_template": [{"name": "default", "template": "{{ bos_token }}"}],
  }
  (tmp_path / "tokenizer_config.json").write_text(json.dumps(about))
  found = PublishedTokenizer.read(tmp_path, V)
  assert found.special == {"bos_token": "a", "image_token": "b"}
  assert found.template == "{{ bos_token }}"


def test_a_template_and_words_that_are_none(tmp_path):
  pytest.importorskip("jinja2")
  tokenizers = pytest.importorskip("tokenizers")
  for template in ("{% if %}", "{{ messages[0].role + 1 }}"):
    broken = PublishedTokenizer(one_word().engine, template=template)
    with pytest.raises(ValueError, match="chat: the model's template is none"):
      broken.chat([{"role": "user", "content": "a"}])
  words = tokenizers.models.WordLevel({"a": 0}, unk_token="unknown")
  strict = PublishedTokenizer(tokenizers.Tokenizer(words))
  with pytest.raises(
    ValueError, match="encode: the tokenizer has no tokens fo"
  ):
    strict.encode("b")
