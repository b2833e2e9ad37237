"""`Family`: what a family of published models calls its keys and tensors."""

import dataclasses

from attnjax.models.decoder import DecoderLM
from attnjax.models.decoder_config import DecoderConfig
from attnjax.models.encoder import Encoder
from attnjax.models.published.keys import Rule
from attnjax.models.published.places import Place

__all__ = ["Family"]


@dataclasses.dataclass(frozen=True)
class Family:
  """How a family of published models says one of ours.

  Args:
    architecture: the class of the `transformers` library.
    rules: of the keys of config.json; of two rules of one key or leaf the later
      one counts, so that a family may begin with the rules of another.
    places: of the tensors.
    base: what comes before every name but that of the readout; a file saved
      without the readout has names without it.
    vocabulary: the key of the number of tokens.
    aliases: other ends of names that files have, and those of the table.
    unused: ends of names of tensors that are no parameters.
    heads: what names of tensors begin with, after the base, that belong to
      tasks which our module does not have; they are not read.
    config: of our module.
    model: our module.

  >>> Family("GPT2LMHeadModel", (), ()).vocabulary
  'vocab_size'
  """

  architecture: str
  rules: tuple[Rule, ...]
  places: tuple[Place, ...]
  base: str = "model."
  vocabulary: str = "vocab_size"
  aliases: tuple[tuple[str, str], ...] = ()
  unused: tuple[str, ...] = ("rotary_emb.inv_freq",)
  heads: tuple[str, ...] = ()
  config: type[DecoderConfig] = DecoderConfig
  model: type[DecoderLM | Encoder] = DecoderLM

  def __post_init__(self):
    last = {getattr(rule, "key", id(rule)): rule for rule in self.rules}
    object.__setattr__(self, "rules", tuple(last.values()))
