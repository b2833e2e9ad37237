"""Config and presets of the translation experiment."""

import dataclasses

from attnjax.config import check_each_once, setting
from attnjax.models import EncoderDecoderConfig, Seq2SeqConfig
from attnjax.runs import FitConfig, TrainConfig
from attnjax.training import CheckpointConfig, OptimizerConfig

__all__ = ["NAMES", "PRESETS", "TranslationConfig"]

# What each variant is called where it is shown.
NAMES = {
  "transformer": "transformer",
  "attentive": "RNN with attention",
  "fixed": "RNN with a fixed vector",
}


@dataclasses.dataclass(frozen=True)
class TranslationConfig(FitConfig):
  """Data, variants and search beside the configs of models and training.

  What is asked after training does not decide a run: `decides=False`.
  """

  source: str = setting(
    "english",
    "the language to translate from; the other one is the target",
    choices=("english", "spanish"),
  )
  variants: tuple[str, ...] = setting(
    tuple(NAMES),
    "each is trained: a transformer, an RNN that attends, and the same RNN with"
    " a fixed vector in place of attention",
    choices=tuple(NAMES),
  )
  vocabulary: int = setting(
    2000, "pieces of each language, at most", at_least=1
  )
  buckets: tuple[int, ...] = setting(
    (24,),
    "lengths of rows, pieces; a verse is in the first that holds both its"
    " sides, and one that the last does not hold is left out",
    at_least=1,
  )
  batch_size: int = setting(64, "verses in a batch, B", at_least=1)
  beams: int = setting(
    4,
    "hypotheses of the beam search, beside greedy",
    at_least=1,
    decides=False,
  )
  length_penalty: float = setting(
    0.6,
    "power of the length that a hypothesis is divided by; 0: none",
    at_least=0,
    decides=False,
  )
  text: str | None = setting(
    None,
    "a sentence of your own to translate at the end; none: no sentence",
    decides=False,
  )
  seeds: int = setting(3, "repetitions with other draws", at_least=1)
  transformer: EncoderDecoderConfig = EncoderDecoderConfig()
  rnn: Seq2SeqConfig = Seq2SeqConfig()
  optimizer: OptimizerConfig = OptimizerConfig()
  train: TrainConfig = TrainConfig()

  def __post_init__(self):
    super().__post_init__()
    check_each_once(self, "variants")
    # A verse goes into the first bucket that holds it.
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
    # Warms up for 100 of 1,000 steps.
    optimizer=OptimizerConfig(
      peak_learning_rate=2e-3, warmup=0.1, weight_decay=0.01
    ),
    train=TrainConfig(
      steps=1000,
      evaluate_every=125,
      log_every=50,
      checkpoint=CheckpointConfig(every_steps=500, keep_last=1),
    ),
  )


def base() -> TranslationConfig:
  """Seven verses of ten, one seed; the README says what that costs."""
  return TranslationConfig(
    vocabulary=4000,
    buckets=(24, 32, 40),
    seeds=1,
    transformer=EncoderDecoderConfig(
      width=192, encoder_depth=2, decoder_depth=2, hidden=768, dropout=0.2
    ),
    rnn=Seq2SeqConfig(width=256, hidden=256, depth=2),
    # Warms up for 200 of 1,600 steps.
    optimizer=OptimizerConfig(
      peak_learning_rate=1.5e-3, warmup=0.125, weight_decay=0.05
    ),
    train=TrainConfig(
      steps=1600,
      evaluate_every=200,
      log_every=50,
      checkpoint=CheckpointConfig(every_steps=200),
    ),
  )


def d2l() -> TranslationConfig:
  """The recurrent configuration of "Dive into Deep Learning", 30 epochs.

  Widths, layers, dropout, a one-way encoder, Adam at a constant rate, clipping
  and batch size are theirs. Their data are a few hundred English and French
  phrases in words; ours are the short verses in pieces.

  Reference:
    Zhang, Lipton, Li, Smola, "Dive into Deep Learning", 2023, arXiv
    2106.11342, section 11.4.
  """
  return TranslationConfig(
    variants=("attentive", "fixed"),
    batch_size=128,
    seeds=1,
    rnn=Seq2SeqConfig(
      width=256, hidden=256, depth=2, bidirectional=False, dropout=0.2
    ),
    optimizer=OptimizerConfig(
      peak_learning_rate=5e-3,
      warmup_steps=0,
      floor=1.0,
      beta2=0.999,
      weight_decay=0.0,
      clip_norm=1.0,
    ),
    train=TrainConfig(
      steps=30 * 42,  # epochs, and batches in one
      evaluate_every=42,
      log_every=42,
      checkpoint=CheckpointConfig(every_steps=420, keep_last=1),
    ),
  )


PRESETS = {"tiny": tiny, "base": base, "d2l": d2l}
