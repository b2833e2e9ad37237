"""`Family`: what a family of published models calls its keys and tensors."""

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from attnjax.config import Config
from attnjax.models.decoder import DecoderLM
from attnjax.models.decoder_config import DecoderConfig
from attnjax.models.published.keys import Keys, Rule
from attnjax.models.published.places import Place

__all__ = ["Family", "Outputs", "Vocabulary"]


@runtime_checkable
class Outputs(Protocol):
  """How a config.json says how many tokens or classes there are.

  >>> isinstance(Vocabulary(), Outputs)
  True
  """

  def count(self, keys: Keys) -> int:
    """Tokens or classes."""

  def say(self, count: int) -> dict[str, Any]:
    """Values of keys."""


@dataclasses.dataclass(frozen=True)
class Vocabulary:
  """Tokens, which one key counts.

  >>> Vocabulary().say(11)
  {'vocab_size': 11}
  """

  key: str = "vocab_size"

  def count(self, keys: Keys) -> int:
    """Tokens."""
    return keys.need(self.key)

  def say(self, count: int) -> dict[str, Any]:
    """The key."""
    return {self.key: count}


@dataclasses.dataclass(frozen=True)
class Family:
  """How a family of published models says one of ours.

  Args:
    architecture: the class of the `transformers` library.
    rules: of the keys of config.json; of two rules of one key or leaf the later
      one counts, so that a family may begin with the rules of another.
    places: of the tensors, or a function of our config that gives them.
    base: what comes before every name but that of the readout; a file saved
      without the readout has names without it.
    vocabulary: how many tokens there are, or classes.
    aliases: other ends of names that files have, and those of the table; ends
      and beginnings are whole parts of a name, between dots.
    unused: ends of names of tensors that are no parameters.
    table: our leaf of the table that embeds.
    copies: names of tensors that may hold that table once more.
    heads: what names of tensors begin with, after the base, that belong to
      tasks which our module does not have; they are not read.
    config: of our module.
    model: our module.

  >>> from attnjax.models.published.keys import Same
  >>> rules = (Same("n_embd", "width"), Same("m", "width"))
  >>> [rule.key for rule in Family("Model", rules, ()).rules]
  ['m']
  """

  architecture: str
  rules: tuple[Rule, ...]
  places: tuple[Place, ...] | Callable[[Any], tuple[Place, ...]]
  base: str = "model."
  vocabulary: Outputs = Vocabulary()
  aliases: tuple[tuple[str, str], ...] = ()
  unused: tuple[str, ...] = ("rotary_emb.inv_freq",)
  table: str = "embed.embedding"
  copies: tuple[str, ...] = ("lm_head.weight", "embed_out.weight")
  heads: tuple[str, ...] = ()
  config: type[Config] = DecoderConfig
  model: Callable[..., Any] = DecoderLM

  def __post_init__(self):
    object.__setattr__(self, "rules", _without_repeats(self.rules))

  def tensors(self, config: Config) -> tuple[Place, ...]:
    """The places of the tensors of one model."""
    return self.places(config) if callable(self.places) else self.places

  def usual(self, name: str) -> str:
    """A name of a file as the table has it.

    >>> family = Family("Model", (), (), aliases=(("head.w", "out.w"),))
    >>> [family.usual(name) for name in ("head.w", "a.head.w", "ahead.w")]
    ['out.w', 'a.out.w', 'ahead.w']
    """
    for theirs, ours in self.aliases:
      if _ends(name, theirs):
        return name.removesuffix(theirs) + ours
    return name

  def skips(self, name: str) -> bool:
    """Whether a tensor is no parameter of our module.

    >>> family = Family("Model", (), (), unused=("bias",), heads=("head",))
    >>> [name for name in ("a.bias", "a.no_bias", "model.head.x", "header.x")
    ...  if family.skips(name)]
    ['a.bias', 'model.head.x']
    """
    inside = name.removeprefix(self.base)
    return any(_ends(name, end) for end in self.unused) or any(
      f"{inside}.".startswith(f"{head}.") for head in self.heads
    )


def _ends(name: str, end: str) -> bool:
  """Whether the last parts of a name are these."""
  return f".{name}".endswith(f".{end}")


def _without_repeats(rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
  """The rules, and of two of one key or one leaf the later."""
  about = [
    {
      (name, getattr(rule, name))
      for name in ("key", "name")
      if hasattr(rule, name)
    }
    for rule in rules
  ]
  later = lambda i: set().union(*about[i + 1 :])
  return tuple(rule for i, rule in enumerate(rules) if not about[i] & later(i))
