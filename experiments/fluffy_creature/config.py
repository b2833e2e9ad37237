"""Config and presets of the fluffy-creature experiment."""

import dataclasses

from attnjax.config import Config, setting
from attnjax.runs import FitConfig, TrainConfig
from attnjax.training import CheckpointConfig, OptimizerConfig

__all__ = ["LOOKS", "PRESETS", "FluffyCreatureConfig", "HeadConfig"]

# Kinds of head: with a distance bias, without, and masked to the word before.
LOOKS = ("head", "no distances", "previous word")


@dataclasses.dataclass(frozen=True)
class HeadConfig(Config):
  """Sizes of the one head."""

  width: int = setting(64, "width M of an embedding, features", at_least=1)
  head_width: int = setting(
    32, "width D of queries and keys, features", at_least=1
  )
  value_width: int = setting(
    32, "width E that values pass through, features", at_least=1
  )
  buckets: int = setting(
    32, "distances that the head can tell apart", at_least=1
  )


@dataclasses.dataclass(frozen=True)
class FluffyCreatureConfig(FitConfig):
  """Corpus, kinds of head and loss beside the configs of model and training."""

  corpus: str = setting(
    "grammar",
    "sentences from a grammar, or Brown's tagged text",
    choices=("grammar", "brown"),
  )
  sentences: int = setting(
    20_000, "training sentences of the grammar", at_least=1
  )
  heldout: int = setting(2_000, "held-out sentences", at_least=1)
  length: int = setting(
    16, "words of a sentence, T; later ones are left out", at_least=1
  )
  least: int = setting(
    1, "times that a word must come to have a number", at_least=1
  )
  repeats: int = setting(
    1,
    "times that a training sentence comes in which a noun has two adjectives or"
    " more; such nouns are rare in real text",
    at_least=1,
  )
  batch_size: int = setting(64, "sentences in a batch, B", at_least=1)
  seeds: int = setting(3, "repetitions with other draws", at_least=1)
  looks: tuple[str, ...] = setting(LOOKS, "which heads to train", choices=LOOKS)
  loss: str = setting(
    "squared",
    "how a report is judged; entropy suits thousands of rare adjectives",
    choices=("squared", "entropy"),
  )
  model: HeadConfig = HeadConfig()
  optimizer: OptimizerConfig = OptimizerConfig()
  train: TrainConfig = TrainConfig()

  def __post_init__(self):
    super().__post_init__()
    if not self.looks:
      raise ValueError(f"looks: expected some of {LOOKS}, got none")


def tiny() -> FluffyCreatureConfig:
  """The grammar, three seeds and three kinds of head, minutes on two cores."""
  return FluffyCreatureConfig(
    # Warms up for 50 of 3,000 steps.
    optimizer=OptimizerConfig(
      peak_learning_rate=5e-3, warmup=0.0167, weight_decay=0.0
    ),
    train=TrainConfig(
      steps=3000,
      evaluate_every=1000,
      log_every=50,
      checkpoint=CheckpointConfig(every_steps=1000),
    ),
  )


def brown() -> FluffyCreatureConfig:
  """Real text: a million tagged words of the Brown corpus."""
  return FluffyCreatureConfig(
    corpus="brown",
    length=32,
    least=5,
    heldout=5_000,
    loss="entropy",
    model=HeadConfig(width=128, head_width=64, value_width=64),
    # Warms up for 100 of 1,500 steps.
    optimizer=OptimizerConfig(
      peak_learning_rate=3e-3, warmup=0.067, weight_decay=0.0
    ),
    train=TrainConfig(
      steps=1500,
      evaluate_every=500,
      log_every=50,
      checkpoint=CheckpointConfig(every_steps=500),
    ),
  )


PRESETS = {"tiny": tiny, "brown": brown}
