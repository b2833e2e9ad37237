"""The variants as models, with about as many parameters each."""

from attnjax.models import MemoryLM, MemoryLMConfig
from experiments import memory_models
from experiments.memory_models import state_bytes
from experiments.recall_beyond_window.config import VARIANTS, RecallConfig
from experiments.recall_beyond_window.task import vocabulary

__all__ = ["count", "make", "model_config", "state_bytes"]


def model_config(config: RecallConfig, variant: str) -> MemoryLMConfig:
  """A variant, its feed-forward maps as wide as its parameters allow.

  Raises:
    ValueError: if there are not enough parameters for a feature.
  """
  return memory_models.fitted(
    config.model,
    VARIANTS[variant],
    vocabulary=vocabulary(config.task),
    parameters=config.parameters,
  )


def count(config: RecallConfig, model: MemoryLMConfig) -> int:
  """Parameters of a model."""
  return memory_models.count(model, vocabulary(config.task))


def make(config: RecallConfig, variant: str, seed: int) -> MemoryLM:
  """A new model."""
  model = model_config(config, variant)
  words = vocabulary(config.task)
  return memory_models.make(model, words, seed, config.train)
