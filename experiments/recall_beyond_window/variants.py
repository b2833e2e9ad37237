"""Models of the variants, of about the same number of parameters."""

from attnjax.models import MemoryLM, MemoryLMConfig
from experiments import memory_models
from experiments.memory_models import state_bytes
from experiments.recall_beyond_window.config import VARIANTS, RecallConfig
from experiments.recall_task import vocabulary

__all__ = ["count", "make", "model_config", "state_bytes"]


def model_config(config: RecallConfig, variant: str) -> MemoryLMConfig:
  """Config of a variant; its feed-forward width takes the parameters left.

  Raises:
    ValueError: there are not enough parameters for a feature.
  """
  return memory_models.fitted(
    config.model,
    VARIANTS[variant],
    vocabulary=vocabulary(config.task),
    parameters=config.parameters,
  )


def count(config: RecallConfig, model: MemoryLMConfig) -> int:
  """Number of parameters of a model."""
  return memory_models.count(model, vocabulary(config.task))


def make(config: RecallConfig, variant: str, seed: int) -> MemoryLM:
  """A new model of a variant, on the mesh of its training."""
  model = model_config(config, variant)
  words = vocabulary(config.task)
  return memory_models.make(model, words, seed, config.train)
