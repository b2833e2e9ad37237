"""Sizes and choices of a recurrent encoder-decoder."""

import dataclasses

from attnjax.config import Config, setting
from attnjax.nn.recurrent import STEP_SCORES

__all__ = ["Seq2SeqConfig"]


@dataclasses.dataclass(frozen=True)
class Seq2SeqConfig(Config):
  """Sizes and choices of a `Seq2Seq`."""

  width: int = setting(256, "embedding width, features", at_least=1)
  hidden: int = setting(
    256, "state width M of encoder and decoder, features", at_least=1
  )
  depth: int = setting(
    2, "recurrent layers L of the encoder and the decoder", at_least=1
  )
  attention: str = setting(
    "additive",
    "how the decoder revisits the input; none: it has a fixed vector",
    choices=(*STEP_SCORES, "none"),
  )
  bidirectional: bool = setting(
    True, "the encoder reads both ways, half of its state width each"
  )
  dropout: float = setting(
    0.2,
    "share of the features dropped in training, in [0, 1)",
    at_least=0,
    below=1,
  )

  def __post_init__(self):
    super().__post_init__()
    if self.bidirectional and self.hidden % 2:
      raise ValueError(
        f"model: two directions share the hidden width, which must be even,"
        f" got {self.hidden}"
      )
