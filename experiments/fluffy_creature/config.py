"""The presets of the experiment on adjectives and nouns."""

import dataclasses

from attnjax.config import check_at_least, setting
from attnjax.training import CheckpointConfig, OptimizerConfig, TrainConfig

__all__ = ["LOOKS", "PRESETS", "FluffyCreatureConfig", "HeadConfig"]

# What a query may look at, and whether the head knows distances.
LOOKS = ("head", "no distances", "previous word")


@dataclasses.dataclass(frozen=True)
class HeadConfig:
  """Sizes of the one head."""

  width: int = setting(64, "width M of an embedding, features")
  head_width: int = setting(32, "width D of queries and keys, features")
  value_width: int = setting(32, "width E that values pass through, features")
  buckets: int = setting(32, "distances that the head can tell apart")


@dataclasses.dataclass(frozen=True)
class FluffyCreatureConfig:
  """All that the experiment is determined by."""

  corpus: str = setting(
    "grammar",
    "sentences from a grammar, or Brown's tagged text",
    choices=("grammar", "brown"),
  )
  sentences: int = setting(20_000, "training sentences of the grammar")
  heldout: int = setting(2_000, "held-out sentences")
  length: int = setting(16, "words of a sentence, T; later ones are left out")
  least: int = setting(1, "times that a word must come to have a number")
  repeats: int = setting(
    1,
    "times that a training sentence comes in which a noun has two adjectives or"
    " more; such nouns are rare in real text",
  )
  batch_size: int = setting(64, "sentences in a batch, B")
  seeds: int = setting(3, "repetitions with other draws")
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
    if not self.looks:
      raise ValueError(f"looks: expected some of {LOOKS}, got none")
    check_at_least(
      self, 1, "sentences", "heldout", "length", "least", "repeats", "seeds"
    )


def tiny() -> FluffyCreatureConfig:
  """The grammar, three seeds and three kinds of head, minutes on two cores."""
  return FluffyCreatureConfig(
    optimizer=OptimizerConfig(
      peak_learning_rate=5e-3, warmup_steps=50, weight_decay=0.0
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
    optimizer=OptimizerConfig(
      peak_learning_rate=3e-3, warmup_steps=100, weight_decay=0.0
    ),
    train=TrainConfig(
      steps=1500,
      evaluate_every=500,
      log_every=50,
      checkpoint=CheckpointConfig(every_steps=500),
    ),
  )


PRESETS = {"tiny": tiny, "brown": brown}
