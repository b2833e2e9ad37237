"""Sizes and choices of a `MemoryLM`, and the blocks made by them."""

import dataclasses
from collections.abc import Callable

import jax
from flax import nnx

from attnjax.config import setting
from attnjax.nn import FeedForward
from attnjax.nn.memory import NeuralMemory
from attnjax.nn.memory_as_context import MemoryAsContext
from attnjax.nn.titans import (
  AttentionAlone,
  MemoryAlone,
  MemoryAsGate,
  MemoryAsLayer,
)
from attnjax.nn.window import WindowAttention
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
class MemoryLMConfig:
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
  chunk: int = setting(16, "tokens C that the memory reads at once")
  residual: bool = setting(
    False,
    "the memory answers its query plus a normalised change: writes cannot make"
    " it steeper without end",
  )
  objective_sign: int = setting(
    1, "1: writes descend their loss; -1: they climb it, a control"
  )
  max_rate: float = setting(1.0, "the largest rate of a write")
  convolution: int = setting(4, "tokens that queries, keys and values mix")
  window: int | None = setting(
    None, "tokens before its own that attention sees; none: all"
  )
  persistent: int = setting(0, "tokens that attention always sees, learned")
  segment: int = setting(32, "tokens of a segment of the memory as context")
  width: int = setting(128, "model width M, features")
  depth: int = setting(2, "blocks L")
  heads: int = setting(4, "heads H of attention and of memory")
  hidden: int = setting(512, "features F between the feed-forward maps")
  activation: str = setting(
    "squared_relu",
    "feed-forward nonlinearity",
    choices=("gelu", "relu", "squared_relu", "swiglu"),
  )
  unroll: int = setting(1, "blocks in one turn of the scan")

  def __post_init__(self):
    for name, allowed in (("architecture", ARCHITECTURES), ("rule", RULES)):
      if getattr(self, name) not in allowed:
        raise ValueError(
          f"model: {name} must be one of {', '.join(allowed)}, got"
          f" {getattr(self, name)!r}"
        )
    least = {"chunk": 1, "convolution": 1, "persistent": 0, "segment": 1}
    least |= {"width": 1, "depth": 1, "heads": 1, "hidden": 1, "unroll": 1}
    least |= {"window": 0}
    for name, low in least.items():
      value = getattr(self, name)
      if value is not None and value < low:
        raise ValueError(f"model: {name} must be at least {low}, got {value}")
    if self.width % self.heads:
      raise ValueError(
        f"model: heads={self.heads} must divide width={self.width}"
      )
    if self.objective_sign not in (1, -1):
      raise ValueError(
        f"model: objective_sign must be 1 or -1, got {self.objective_sign}"
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
