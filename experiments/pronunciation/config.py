"""Config and presets of the pronunciation experiment."""

import dataclasses
from pathlib import Path

from attnjax.config import Config, check_each_once, setting
from attnjax.data import GRAPHEMES
from attnjax.models import Seq2SeqConfig
from attnjax.runs import FitConfig, TrainConfig
from attnjax.training import CheckpointConfig, OptimizerConfig

__all__ = ["PRESETS", "VARIANTS", "DataConfig", "PronunciationConfig"]

VARIANTS = ("additive", "dot", "general", "none")


@dataclasses.dataclass(frozen=True)
class DataConfig(Config):
  """Dictionary, limits of its splits, and batches."""

  dictionary: str | None = setting(
    None,
    "a file in the format of the CMU dictionary; none: that dictionary",
    path=True,
    decides=False,
  )
  # A limit of training alone: the test has words of any length.
  max_letters: int = setting(
    28, "letters of the longest word to train on", at_least=1
  )
  train_words: int | None = setting(
    None, "words to train on; none: all", at_least=1
  )
  validation_words: int | None = setting(
    2000, "words to validate on; none: all", at_least=1
  )
  test_words: int | None = setting(
    None, "words, of any length, to test on; none: all", at_least=1
  )
  batch_size: int = setting(64, "pronunciations in a batch, B", at_least=1)
  multiple: int = setting(
    4,
    "letters and phonemes of a batch are padded to a multiple of this",
    at_least=1,
  )

  def check(self) -> None:
    """Raises ValueError where `dictionary` is no file of this machine."""
    if self.dictionary is not None and not Path(self.dictionary).is_file():
      raise ValueError(
        f"dictionary must be a file, got {self.dictionary!r}, where there is"
        " none; name one, or leave it out for the CMU dictionary"
      )


@dataclasses.dataclass(frozen=True)
class PronunciationConfig(FitConfig):
  """Variants, seeds and search beside the configs of data, model and training.

  What is asked after training does not decide a run: `decides=False`.
  """

  variants: tuple[str, ...] = setting(
    ("additive", "dot", "none"),
    "each is trained, in place of model.attention",
    choices=VARIANTS,
  )
  seeds: int = setting(
    3, "repetitions with other parameters and batches", at_least=1
  )
  beams: int = setting(
    4,
    "sequences kept by the search beside the greedy one",
    at_least=1,
    decides=False,
  )
  published: bool = setting(
    True, "test the network of g2p-en too", decides=False
  )
  words: tuple[str, ...] = setting(
    ("unknowingly", "hemisphere", "thoroughbred"),
    "words to say and to draw when training is done",
    decides=False,
  )
  model: Seq2SeqConfig = Seq2SeqConfig()
  data: DataConfig = DataConfig()
  optimizer: OptimizerConfig = OptimizerConfig()
  train: TrainConfig = TrainConfig()

  def __post_init__(self):
    super().__post_init__()
    check_each_once(self, "variants")
    for word in self.words:
      if not word or not set(word) <= set(GRAPHEMES.symbols):
        raise ValueError(
          f"words: expected small letters a to z and apostrophes, one at least,"
          f" got {word!r}"
        )


def tiny() -> PronunciationConfig:
  """Three variants, three seeds, minutes on two cores."""
  return PronunciationConfig(
    model=Seq2SeqConfig(width=48, hidden=96, depth=1, dropout=0.1),
    # Multiples of 8, not 4: half as many widths to compile a step for.
    data=DataConfig(max_letters=12, train_words=30_000, multiple=8),
    # Warms up for 100 of 1,600 steps.
    optimizer=OptimizerConfig(
      peak_learning_rate=6e-3, warmup=0.0625, floor=0.02, weight_decay=0.0
    ),
    train=TrainConfig(
      steps=1600,
      evaluate_every=400,
      log_every=50,
      checkpoint=CheckpointConfig(every_steps=800, keep_last=1),
    ),
  )


def base() -> PronunciationConfig:
  """The whole dictionary, 10 times; the README says what that costs."""
  return PronunciationConfig(
    variants=("additive", "none"),
    seeds=1,
    model=Seq2SeqConfig(width=128, hidden=256, depth=2, dropout=0.3),
    data=DataConfig(batch_size=128),
    # Warms up for 500 of 9,000 steps.
    optimizer=OptimizerConfig(
      peak_learning_rate=2e-3, warmup=0.0556, floor=0.02, weight_decay=0.01
    ),
    train=TrainConfig(
      steps=9000,
      evaluate_every=1500,
      log_every=50,
      checkpoint=CheckpointConfig(every_steps=500),
    ),
  )


PRESETS = {"tiny": tiny, "base": base}
