"""Architectures with attention, a memory, or both, as models of one size."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from flax import nnx

from attnjax.models import MemoryLM, MemoryLMConfig
from attnjax.runs import TrainConfig, make_model

__all__ = [
  "ARCHITECTURES",
  "check_window",
  "count",
  "fitted",
  "make",
  "state_bytes",
]


# A perceptron takes the gradients of a chunk at its beginning, where they are
# stale for its end: small rates, and answers whose size no write can change,
# keep it from diverging.
_DEEP = {"rule": "titans", "max_rate": 1 / 8, "residual": True}
# What each changes in a config that has a window and persistent tokens.
ARCHITECTURES: dict[str, dict[str, Any]] = {
  "full attention": {"architecture": "attention", "window": None},
  "window": {"architecture": "attention", "persistent": 0},
  "window + persistent": {"architecture": "attention"},
  "linear attention": {"architecture": "memory", "rule": "linear_attention"},
  "gated delta net": {"architecture": "memory", "rule": "gated_delta_net"},
  "LMM": {"architecture": "memory"} | _DEEP,
  "MAC": {"architecture": "mac", "window": None} | _DEEP,
  "MAG": {"architecture": "mag"} | _DEEP,
  "MAL": {"architecture": "mal"} | _DEEP,
}


def check_window(config: MemoryLMConfig) -> None:
  """Checks that a config has a window, which most architectures need.

  Raises:
    ValueError: it has none.

  >>> from attnjax.models import MemoryLMConfig
  >>> check_window(MemoryLMConfig(window=3))
  """
  if config.window is None:
    raise ValueError(
      "model.window: expected a number of tokens, got none; the variant"
      " 'full attention' has none anyway"
    )


def fitted(
  config: MemoryLMConfig,
  changes: Mapping[str, Any],
  *,
  vocabulary: int,
  parameters: int,
) -> MemoryLMConfig:
  """A config with changes, and a feed-forward width fitted to a size.

  Args:
    config: what is changed; its `hidden` is ignored.
    changes: field -> value.
    vocabulary: V, tokens.
    parameters: number wanted of the whole model; the nearest is taken.

  Raises:
    ValueError: there are not enough parameters for a feature.

  >>> from attnjax.models import MemoryLMConfig
  >>> small = MemoryLMConfig(width=8, depth=1, heads=2)
  >>> changes = ARCHITECTURES["LMM"]
  >>> model = fitted(small, changes, vocabulary=11, parameters=4000)
  >>> abs(count(model, 11) - 4000) <= small.width  # half a feature
  True
  """
  chosen = dataclasses.replace(config, **changes)
  sized = lambda hidden: dataclasses.replace(chosen, hidden=hidden)

  # The number of parameters is linear in the width: two counts tell it.
  one, two = (count(sized(hidden), vocabulary) for hidden in (1, 2))
  hidden = 1 + round((parameters - one) / (two - one))
  if hidden < 1:
    raise ValueError(
      f"parameters must be at least {one} for {dict(changes)}, got {parameters}"
    )
  return sized(hidden)


def count(config: MemoryLMConfig, vocabulary: int) -> int:
  """Number of parameters of a model, by its shapes alone."""
  shapes = jax.eval_shape(lambda: _made(config, vocabulary, 0))
  return sum(math.prod(x.shape) for x in jax.tree.leaves(shapes))


def make(
  config: MemoryLMConfig, vocabulary: int, seed: int, train: TrainConfig
) -> MemoryLM:
  """A new model, on the mesh of its training."""
  return make_model(lambda: _made(config, vocabulary, seed), train)


def _made(config: MemoryLMConfig, vocabulary: int, seed: int) -> MemoryLM:
  return MemoryLM(config, vocabulary, rngs=nnx.Rngs(seed))


def state_bytes(model: MemoryLM, lengths: Sequence[int]) -> dict[int, int]:
  """Bytes of the decoding state of one row, by length of the row."""

  def one(length: int) -> int:
    held = lambda model: jax.tree.leaves(model.init_cache((1,), length))
    return sum(
      math.prod(x.shape) * x.dtype.itemsize for x in jax.eval_shape(held, model)
    )

  return {length: one(length) for length in lengths}
