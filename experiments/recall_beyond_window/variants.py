"""The variants as models, with about as many parameters each."""

import dataclasses
import math
from collections.abc import Sequence

import jax
from flax import nnx

from attnjax.models import MemoryLM, MemoryLMConfig
from experiments.recall_beyond_window.config import VARIANTS, RecallConfig
from experiments.recall_beyond_window.task import vocabulary
from experiments.runs import make_model

__all__ = ["count", "make", "model_config", "state_bytes"]


def model_config(config: RecallConfig, variant: str) -> MemoryLMConfig:
  """A variant, its feed-forward maps as wide as its parameters allow.

  Raises:
    ValueError: if there are not enough parameters for a feature.
  """
  chosen = dataclasses.replace(config.model, **VARIANTS[variant])
  sized = lambda hidden: dataclasses.replace(chosen, hidden=hidden)
  one, two = (count(config, sized(hidden)) for hidden in (1, 2))
  hidden = 1 + round((config.parameters - one) / (two - one))
  if hidden < 1:
    raise ValueError(
      f"parameters must be at least {one} for {variant!r}, got"
      f" {config.parameters}"
    )
  return sized(hidden)


def count(config: RecallConfig, model: MemoryLMConfig) -> int:
  """Parameters of a model."""
  shapes = jax.eval_shape(lambda: _made(config, model, 0))
  return sum(math.prod(x.shape) for x in jax.tree.leaves(shapes))


def make(config: RecallConfig, variant: str, seed: int) -> MemoryLM:
  """A new model."""
  model = model_config(config, variant)
  return make_model(lambda: _made(config, model, seed), config.train)


def _made(config: RecallConfig, model: MemoryLMConfig, seed: int) -> MemoryLM:
  return MemoryLM(model, vocabulary(config.task), rngs=nnx.Rngs(seed))


def state_bytes(model: MemoryLM, lengths: Sequence[int]) -> dict[int, int]:
  """What decoding one row of a length carries from token to token."""

  def one(length: int) -> int:
    held = lambda model: jax.tree.leaves(model.init_cache((1,), length))
    return sum(
      math.prod(x.shape) * x.dtype.itemsize for x in jax.eval_shape(held, model)
    )

  return {length: one(length) for length in lengths}
