"""Models of the variants: one width, one head, and what they hold."""

import dataclasses
from collections.abc import Sequence

from flax import nnx

from attnjax.models import MemoryLM, MemoryLMConfig
from experiments import memory_models
from experiments.recall_beyond_window.config import VARIANTS, RecallConfig
from experiments.recall_task import vocabulary

__all__ = ["count", "make", "model_config", "state_bytes"]


def model_config(
  config: RecallConfig, variant: str, width: int
) -> MemoryLMConfig:
  """Config of a variant whose feed-forward maps are twice as wide."""
  return dataclasses.replace(
    config.model, width=width, hidden=2 * width, **VARIANTS[variant]
  )


def count(config: RecallConfig, variant: str, width: int) -> int:
  """Number of parameters of a model."""
  model = model_config(config, variant, width)
  return memory_models.count(model, vocabulary(config.task))


def make(config: RecallConfig, variant: str, width: int, seed: int) -> MemoryLM:
  """A new model of a variant."""
  model = model_config(config, variant, width)
  return MemoryLM(model, vocabulary(config.task), rngs=nnx.Rngs(seed))


def state_bytes(
  config: RecallConfig, variant: str, width: int, lengths: Sequence[int]
) -> dict[int, int]:
  """Bytes of the decoding state of one row, by length of the row."""
  return memory_models.state_bytes(make(config, variant, width, 0), lengths)
