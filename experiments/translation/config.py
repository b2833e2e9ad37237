"""The presets of the experiment on translation."""

import dataclasses

from attnjax.config import setting
from attnjax.models import EncoderDecoderConfig, Seq2SeqConfig
from attnjax.training import CheckpointConfig, OptimizerConfig, TrainConfig

__all__ = ["PRESETS", "TranslationConfig"]


@dataclasses.dataclass(frozen=True)
class TranslationConfig:
  """All that the experiment is determined by."""

  source: str = setting(
    "english",
    "the language to translate from; the other one is the target",
    choices=("english", "spanish"),
  )
  vocabulary: int = setting(2000, "pieces of each language, at most")
  buckets: tuple[int, ...] = setting(
    (24,),
    "lengths of rows, pieces; a verse is in the first that holds both its"
    " sides, and one that the last does not hold is left out",
  )
  batch_size: int = setting(64, "verses in a batch, B")
  beams: int = setting(4, "hypotheses of the beam search, beside greedy")
  length_penalty: float = setting(
    0.6, "power of the length that a hypothesis is divided by; 0: none"
  )
  text: str | None = setting(
    None, "a sentence of your own to translate at the end; none: no sentence"
  )
  seeds: int = setting(3, "repetitions with other draws")
  transformer: EncoderDecoderConfig = EncoderDecoderConfig()
  rnn: Seq2SeqConfig = Seq2SeqConfig()
  optimizer: OptimizerConfig = OptimizerConfig()
  train: TrainConfig = TrainConfig()

  def __post_init__(self):
    for name in ("batch_size", "beams", "seeds"):
      if getattr(self, name) < 1:
        raise ValueError(
          f"{name} must be at least 1, got {getattr(self, name)}"
        )
    rising = list(self.buckets) == sorted(set(self.buckets))
    if not self.buckets or self.buckets[0] < 2 or not rising:
      raise ValueError(
        f"buckets must be rising lengths of at least 2, got {self.buckets}"
      )
    if self.text is not None and not self.text.strip():
      raise ValueError(
        f"text={self.text!r}: there is nothing to translate; give a sentence,"
        " or leave the flag out"
      )
    if self.rnn.attention == "none":
      raise ValueError(
        'rnn.attention="none" would train the fixed vector twice; it is a'
        " variant anyway, choose how the other one attends"
      )


def tiny() -> TranslationConfig:
  """Short verses, three variants, three seeds, minutes on two cores."""
  return TranslationConfig(
    batch_size=32,
    transformer=EncoderDecoderConfig(
      width=128, encoder_depth=1, decoder_depth=1, hidden=256, dropout=0.2
    ),
    rnn=Seq2SeqConfig(width=128, hidden=128, depth=1),
    optimizer=OptimizerConfig(
      peak_learning_rate=2e-3, warmup_steps=100, weight_decay=0.01
    ),
    train=TrainConfig(
      steps=1600,
      evaluate_every=200,
      log_every=50,
      checkpoint=CheckpointConfig(every_steps=800, keep_last=1),
    ),
  )


def base() -> TranslationConfig:
  """Nearly every verse, one seed; an hour and a half a variant, two cores."""
  return TranslationConfig(
    vocabulary=4000,
    buckets=(24, 32, 40, 64),
    seeds=1,
    transformer=EncoderDecoderConfig(
      width=256, encoder_depth=3, decoder_depth=3, hidden=1024, dropout=0.2
    ),
    rnn=Seq2SeqConfig(width=256, hidden=256, depth=2),
    optimizer=OptimizerConfig(
      peak_learning_rate=1e-3, warmup_steps=400, weight_decay=0.05
    ),
    train=TrainConfig(
      steps=4000,
      evaluate_every=250,
      log_every=50,
      checkpoint=CheckpointConfig(every_steps=250),
    ),
  )


PRESETS = {"tiny": tiny, "base": base}
