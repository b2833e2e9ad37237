"""Sizes and choices of a recurrent encoder-decoder."""

import dataclasses

from attnjax.config import setting
from attnjax.nn.step_attention import RULES
from attnjax.ops.drop import check_rate

__all__ = ["Seq2SeqConfig"]


@dataclasses.dataclass(frozen=True)
class Seq2SeqConfig:
  """Sizes and choices of a `Seq2Seq`."""

  width: int = setting(256, "embedding width, features")
  hidden: int = setting(256, "state width M of encoder and decoder, features")
  depth: int = setting(2, "recurrent layers L of the encoder and the decoder")
  attention: str = setting(
    "additive",
    "how the decoder revisits the input; none: it has a fixed vector",
    choices=(*RULES, "none"),
  )
  bidirectional: bool = setting(
    True, "the encoder reads both ways, half of its state width each"
  )
  dropout: float = setting(
    0.2, "share of the features dropped in training, in [0, 1)"
  )

  def __post_init__(self):
    for name in ("width", "hidden", "depth"):
      if getattr(self, name) < 1:
        raise ValueError(
          f"model: {name} must be at least 1, got {getattr(self, name)}"
        )
    if self.bidirectional and self.hidden % 2:
      raise ValueError(
        f"model: two directions share the hidden width, which must be even,"
        f" got {self.hidden}"
      )
    if self.attention not in (*RULES, "none"):
      raise ValueError(
        f"model: attention must be one of {(*RULES, 'none')}, got"
        f" {self.attention!r}"
      )
    check_rate(self.dropout)
