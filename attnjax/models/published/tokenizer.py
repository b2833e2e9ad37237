"""`PublishedTokenizer`: tokens of a published model, and its chat template."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from attnjax.extras import needs_extra
from attnjax.models.published.json_fields import expect, is_text, is_token
from attnjax.models.published.read_config import read_json

__all__ = ["PublishedTokenizer"]

_SPECIAL = tuple(
  f"{name}_token" for name in ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
)


@dataclasses.dataclass(frozen=True, eq=False)
class PublishedTokenizer:
  """Text to the tokens of a published model and back.

  Args:
    engine: a `tokenizers.Tokenizer`.
    stop: tokens that end a text.
    template: of chats, in Jinja; None where the model has none.
    special: texts of special tokens by name, for the template.

  >>> import tokenizers
  >>> words = tokenizers.models.WordLevel({"a": 0, "b": 1}, unk_token="b")
  >>> engine = tokenizers.Tokenizer(words)
  >>> engine.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
  >>> tokenizer = PublishedTokenizer(engine)
  >>> tokenizer.encode("a b a"), tokenizer.decode([0, 1])
  (array([0, 1, 0], dtype=int32), 'a b')
  """

  engine: Any
  stop: tuple[int, ...] = ()
  template: str | None = None
  special: Mapping[str, str] = dataclasses.field(default_factory=dict)

  @classmethod
  def read(cls, folder: Path, vocabulary: int) -> "PublishedTokenizer | None":
    """The tokenizer of a directory; None where it has no `tokenizer.json`.

    Raises:
      ValueError: it has tokens that the model has not, or a file is broken, or
        a field of it is of another kind; both are named.
      ImportError: a library is missing: `pip install 'attnjax[published]'`.
    """
    file = folder / "tokenizer.json"
    if not file.is_file():
      return None
    with needs_extra("published", "published tokenizers need tokenizers"):
      import tokenizers

    try:
      engine = tokenizers.Tokenizer.from_file(str(file))
    except Exception as error:  # the library has no class of its own
      raise ValueError(f"{file} is no tokenizer: {error}") from error
    # Some files pad and cut every text to one length, which would be silent.
    engine.no_padding()
    engine.no_truncation()
    about_file = folder / "tokenizer_config.json"
    about = _json_if_any(about_file)
    found = cls(
      engine,
      _stop(folder),
      _template(folder, about),
      _special(about_file, about),
    )
    found.check_fits(vocabulary, file)
    return found

  def check_fits(self, vocabulary: int, whose: Any) -> None:
    """Raises ValueError for tokens that a model of so many has not.

    Args:
      vocabulary: tokens of the model.
      whose: the tokenizer is, for the error.
    """
    every = self.engine.get_vocab(with_added_tokens=True)
    most = max(every.values(), default=-1)
    if most >= vocabulary:
      raise ValueError(
        f"{whose} has the token {most}, and the model only {vocabulary} tokens;"
        " is it of another model?"
      )

  @property
  def vocabulary_size(self) -> int:
    """How many tokens there are."""
    return self.engine.get_vocab_size(with_added_tokens=True)

  def encode(self, text: str, *, special: bool = True) -> np.ndarray:
    """int32 tokens of a text.

    Args:
      text: to encode.
      special: whether tokens that the tokenizer puts around a text are added,
        such as that of its beginning.

    Raises:
      ValueError: the tokenizer has no tokens for the text.
    """
    try:
      ids = self.engine.encode(text, add_special_tokens=special).ids
    except TypeError:  # what came is no text
      raise
    except Exception as error:  # the library has no class of its own
      raise ValueError(
        f"encode: the tokenizer has no tokens for {text[:40]!r}: {error}"
      ) from error
    return np.asarray(ids, np.int32)

  def decode(self, tokens: Sequence[int] | np.ndarray) -> str:
    """The text of some tokens, without special ones.

    Raises:
      ValueError: one is negative, as of a row of `generate` without an answer.
    """
    ids = np.asarray(tokens)
    if (ids < 0).any():
      raise ValueError(
        f"decode: tokens must be >= 0, got {ids.min()}; -1 is of a row that"
        " has no answer"
      )
    return self.engine.decode(ids.tolist())

  def show(self, token: int) -> str:
    """A token as printable text; a special token by its name."""
    text = self.engine.decode([token], skip_special_tokens=False)
    return "".join(
      c if c.isprintable() else c.encode("unicode_escape").decode()
      for c in text
    )

  def chat(self, messages: Sequence[Mapping[str, str]]) -> str:
    """The text of a chat up to the model's turn, by the model's own template.

    Args:
      messages: each with a "role" ("system", "user", "assistant") and
        "content".

    Raises:
      ValueError: the model has no template, or one that is none, or the
        template refuses them.
      ImportError: jinja2 is missing: `pip install 'attnjax[published]'`.
    """
    if self.template is None:
      raise ValueError(
        "chat: the tokenizer must have a chat template, and has none; encode"
        " the text itself"
      )
    with needs_extra("published", "chat templates need jinja2"):
      import jinja2
      from jinja2 import sandbox

    def refuse(message: str):
      raise ValueError(f"chat: the model's template refuses: {message}")

    # A template is a program of somebody else.
    world = sandbox.ImmutableSandboxedEnvironment(
      trim_blocks=True, lstrip_blocks=True, undefined=jinja2.ChainableUndefined
    )
    world.globals["raise_exception"] = refuse
    given = {"messages": list(messages), "add_generation_prompt": True}
    try:
      return world.from_string(self.template).render({**self.special, **given})
    except (jinja2.TemplateError, TypeError) as error:
      raise ValueError(
        f"chat: the model's template is none for these messages: {error}"
      ) from error

  def write(self, folder: Path) -> None:
    """Writes `tokenizer.json` and `tokenizer_config.json`."""
    self.engine.save(str(folder / "tokenizer.json"))
    about: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast"}
    about |= self.special
    if self.template is not None:
      about["chat_template"] = self.template
    text = json.dumps(about, indent=2) + "\n"
    (folder / "tokenizer_config.json").write_text(text, encoding="utf-8")


def _json_if_any(path: Path) -> dict[str, Any]:
  """The content of a JSON file, or nothing."""
  return read_json(path) if path.is_file() else {}


def _special(file: Path, about: Mapping[str, Any]) -> dict[str, str]:
  """Texts of special tokens, which a file has plain or with how they match."""
  found = {}
  for name, value in about.items():
    if not name.endswith("_token") or value is None:
      continue
    text = value.get("content") if isinstance(value, Mapping) else value
    # Choices have such names too, "add_bos_token" for one.
    if name in _SPECIAL or is_text(text):
      what = "a text, or have one as its content"
      found[name] = expect(file, name, text, is_text, what)
  return found


def _stop(folder: Path) -> tuple[int, ...]:
  """Tokens that end a text: of the generation's config, else the model's."""
  for name in ("generation_config.json", "config.json"):
    found = _json_if_any(folder / name).get("eos_token_id")
    if found is not None:
      several = found if isinstance(found, list) else [found]
      whole = lambda tokens: all(map(is_token, tokens))
      what = "a token or a list of tokens"
      return tuple(expect(folder / name, "eos_token_id", several, whole, what))
  return ()


def _template(folder: Path, about: Mapping[str, Any]) -> str | None:
  """The chat template: a file of its own, or in the tokenizer's config."""
  file = folder / "chat_template.jinja"
  if file.is_file():
    return file.read_text(encoding="utf-8")
  template = about.get("chat_template")
  if template is None:
    return None

  named = template if isinstance(template, list) else [_named(template)]
  right = lambda all_: all(
    isinstance(one, Mapping)
    and is_text(one.get("name"))
    and is_text(one.get("template"))
    for one in all_
  )
  what = "a text, or a list of texts with a name and a template each"
  file = folder / "tokenizer_config.json"
  expect(file, "chat_template", named, right, what)
  return {one["name"]: one["template"] for one in named}.get("default")


def _named(template: Any) -> dict[str, Any]:
  """The only template, as one of several."""
  return {"name": "default", "template": template}
