"""Sizes and choices of a `MemoryLM`, and the blocks made by them."""

import dataclasses
from collections.abc import Callable

import jax
from flax import nnx

from attnjax.config import Config, setting
from attnjax.nn import FeedForward
from attnjax.nn.memory_blocks import (
  AttentionAlone,
  MemoryAlone,
  MemoryAsContext,
  MemoryAsGate,
  MemoryAsLayer,
)
from attnjax.nn.neural_memory import NeuralMemory
from attnjax.nn.window_attention import WindowAttention
from attnjax.ops import memory

__all__ = ["ARCHITECTURES", "RULES", "MemoryLMConfig", "make_mixer"]

ARCHITECTURES = ("attention", "memory", "mac", "mag", "mal")
RULES: dict[str, Callable[..., memory.Rule]] = {
  name: getattr(memory, name)
  for name in (
    *("linear_attention", "delta_net", "gated_delta_net", "ttt_linear"),
    *("ttt_mlp", "titans", "moneta", "yaad", "memora", "atlas", "lact"),
  )
}


@dataclasses.dataclass(frozen=True)
class MemoryLMConfig(Config):
  """Sizes and choices of a `MemoryLM`."""

  architecture: str = setting(
    "mac",
    "what mixes tokens: attention, a memory, or both: memory as context, as a"
    " gate, as a layer",
    choices=ARCHITECTURES,
  )
  rule: str = setting(
    "titans", "the memory, by name; see attnjax.memory", choices=tuple(RULES)
  )
  chunk: int = setting(16, "tokens C that the memory reads at once", at_least=1)
  residual: bool = setting(
    False,
    "the memory answers its query plus a normalised change: writes cannot make"
    " it steeper without end",
  )
  objective_sign: int = setting(
    1,
    "1: writes descend their loss; -1: they climb it, a control",
    choices=(1, -1),
  )
  max_rate: float = setting(1.0, "the largest rate of a write", above=0)
  convolution: int = setting(
    4, "tokens that queries, keys and values mix", at_least=1
  )
  window: int | None = setting(
    None, "tokens before its own that attention sees; none: all", at_least=0
  )
  persistent: int = setting(
    0, "tokens that attention always sees, learned", at_least=0
  )
  segment: int = setting(
    32, "tokens of a segment of the memory as context", at_least=1
  )
  width: int = setting(128, "model width M, features", at_least=1)
  depth: int = setting(2, "blocks L", at_least=1)
  heads: int = setting(4, "heads H of attention and of memory", at_least=1)
  hidden: int = setting(
    512, "features F between the feed-forward maps", at_least=1
  )
  activation: str = setting(
    "squared_relu",
    "feed-forward nonlinearity",
    choices=("gelu", "relu", "squared_relu", "swiglu"),
  )
  unroll: int = setting(1, "blocks in one turn of the scan", at_least=1)

  def __post_init__(self):
    super().__post_init__()
    if self.width % self.heads:
      raise ValueError(
        f"model: heads={self.heads} must divide width={self.width}"
      )
    if self.architecture in ("mag", "mal") and self.window is None:
      raise ValueError(
        f"model: architecture={self.architecture} attends to a window; give"
        " model.window"
      )


def make_rule(config: MemoryLMConfig) -> memory.Rule:
  """The memory of a config."""
  rule = RULES[config.rule](chunk=config.chunk)
  if config.residual:
    structure = dataclasses.replace(rule.structure, residual=True)
    rule = dataclasses.replace(rule, structure=structure)
  if config.objective_sign == 1:
    return rule
  return dataclasses.replace(rule, objective=memory.negative(rule.objective))


def make_mixer(
  config: MemoryLMConfig, attend: Callable, rngs: nnx.Rngs
) -> nnx.Module:
  """What mixes the tokens of a block."""
  width, init = config.width, output_init(config)
  attention = lambda window: WindowAttention(
    width,
    config.heads,
    window=window,
    persistent=config.persistent,
    convolution=config.convolution,
    attend=attend,
    output_init=init,
    rngs=rngs,
  )
  if config.architecture == "attention":
    return AttentionAlone(attention(config.window))
  held = NeuralMemory(
    width,
    config.heads,
    rule=make_rule(config),
    convolution=config.convolution,
    max_rate=config.max_rate,
    output_init=init,
    rngs=rngs,
  )
  if config.architecture == "memory":
    return MemoryAlone(held)
  if config.architecture == "mal":
    near = attention(config.window)
    return MemoryAsLayer(near, held, width=width, rngs=rngs)
  if config.architecture == "mag":
    near = attention(config.window)
    return MemoryAsGate(near, held, width=width, output_init=init, rngs=rngs)
  return MemoryAsContext(
    attention(None),
    held,
    width=width,
    segment=config.segment,
    output_init=init,
    rngs=rngs,
  )


def make_feed_forward(config: MemoryLMConfig, rngs: nnx.Rngs) -> FeedForward:
  """The other layer of a block."""
  return FeedForward(
    config.width,
    config.hidden,
    activation=config.activation,
    output_init=output_init(config),
    rngs=rngs,
  )


def output_init(config: MemoryLMConfig):
  """Each block adds twice to x; this keeps its variance from growing."""
  return jax.nn.initializers.variance_scaling(
    1 / (2 * config.depth), "fan_in", "normal"
  )
