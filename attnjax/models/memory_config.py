"""Sizes and choices of a `MemoryLM`, and the token mixer that they make."""

import dataclasses
from collections.abc import Callable
from typing import Any

from flax import nnx

from attnjax.config import Config, setting
from attnjax.models.block_stack import block_setting, check_heads
from attnjax.nn import (
  MemoryAlone,
  MemoryAsContext,
  MemoryAsGate,
  MemoryAsLayer,
  NeuralMemory,
  WindowAttention,
)
from attnjax.nn.combined import COMBINES
from attnjax.nn.initializers import fan_in
from attnjax.nn.memory_blocks import AttentionAlone
from attnjax.nn.starts import STARTS
from attnjax.ops import memory

__all__ = [
  "ARCHITECTURES",
  "RULES",
  "MemoryLMConfig",
  "make_mixer",
  "make_rule",
]

ARCHITECTURES = ("attention", "memory", "mac", "mag", "mal")
# Rules are made by name, for a config is text: flags and JSON.
RULES: dict[str, Callable[..., memory.Rule]] = {
  name: getattr(memory, name)
  for name in (
    *("linear_attention", "mamba2", "delta_net", "gated_delta_net"),
    *("kimi_delta_attention", "ttt_linear", "ttt_mlp", "titans", "moneta"),
    *("yaad", "memora", "atlas", "lact", "mesa_net"),
  )
}
# What a rule may have and can do without.
PARTS = ("momentum", "decay")
# Of MAC: what attention adds to the token that the memory stores, at the start,
# as a share of what it adds elsewhere.
_BESIDE_TOKEN = 0.1


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
  writes: int = setting(
    1, "keys and values that a token writes, one after the other", at_least=1
  )
  convolution: int = setting(
    4, "tokens that queries, keys and values mix", at_least=1
  )
  start: str = setting(
    "bound",
    "how projections and convolutions begin: queries bound to keys, keys to the"
    " token before; drawn; or apart, and a convolution as none",
    choices=STARTS,
  )
  combine: str = setting(
    "add",
    "how the memory as a gate or context changes attention: as a factor, or"
    " added to it",
    choices=COMBINES,
  )
  dampened: bool = setting(
    True,
    "the momentum of a memory takes in 1 - η of a gradient, so that no step is"
    " larger than its rate",
  )
  without: tuple[str, ...] = setting(
    (),
    "parts that the memory's rule is to lack, to see what they are for",
    choices=PARTS,
  )
  memory_depth: int | None = setting(
    None,
    "maps of the memory's perceptron, 1: a matrix; none: as its rule has them",
    at_least=1,
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
  width: int = block_setting("width", 128)
  depth: int = setting(2, "blocks L", at_least=1)
  heads: int = setting(4, "heads H of attention and of memory", at_least=1)
  hidden: int = block_setting("hidden", 512)
  activation: str = block_setting("activation", "squared_relu")
  unroll: int = setting(1, "blocks in one turn of the scan", at_least=1)

  def __post_init__(self):
    super().__post_init__()
    check_heads(self)
    if self.architecture in ("mag", "mal") and self.window is None:
      raise ValueError(
        f"model: architecture={self.architecture} attends to a window; give"
        " model.window"
      )


def make_rule(config: MemoryLMConfig) -> memory.Rule:
  """The update rule of a config.

  Raises:
    ValueError: the rule has no part that it is to lack, or no perceptron whose
      maps could be counted.

  >>> whole = make_rule(MemoryLMConfig())
  >>> plain = make_rule(MemoryLMConfig(without=("momentum",), memory_depth=1))
  >>> len(whole.structure.shapes(3, 3)), len(plain.structure.shapes(3, 3))
  (2, 1)
  >>> whole.algorithm.has_momentum, plain.algorithm.has_momentum
  (True, False)
  """
  rule = _lacking(config, RULES[config.rule](chunk=config.chunk))
  if config.memory_depth is not None:
    rule = _deep(config, rule)
  if config.residual:
    structure = dataclasses.replace(rule.structure, residual=True)
    # Any rule can take it: TTT has a residual of its own, the others none.
    rule = dataclasses.replace(rule, structure=structure)
  if config.dampened and rule.algorithm.has_momentum:
    algorithm = dataclasses.replace(rule.algorithm, dampened=True)
    rule = dataclasses.replace(rule, algorithm=algorithm)
  if config.objective_sign == 1:
    return rule
  return dataclasses.replace(rule, objective=memory.negative(rule.objective))


def _lacking(config: MemoryLMConfig, rule: memory.Rule) -> memory.Rule:
  """A rule without the parts that a config leaves out."""
  has = {
    "momentum": rule.algorithm.has_momentum,
    "decay": rule.retention == memory.decay(),
  }
  for part in config.without:
    if not has[part]:
      raise ValueError(
        f"model: without={part} leaves out what rule={config.rule} has not"
      )

  if "momentum" in config.without:
    algorithm = dataclasses.replace(rule.algorithm, has_momentum=False)
    rule = dataclasses.replace(rule, algorithm=algorithm)
  if "decay" in config.without:
    rule = dataclasses.replace(rule, retention=memory.none())
  return rule


def _deep(config: MemoryLMConfig, rule: memory.Rule) -> memory.Rule:
  """A rule whose perceptron has another number of maps."""
  perceptron: Any = rule.structure
  if not hasattr(perceptron, "depth"):
    raise ValueError(
      f"model: memory_depth={config.memory_depth} counts the maps of a"
      f" perceptron, and rule={config.rule} has none; leave it out"
    )
  structure = dataclasses.replace(perceptron, depth=config.memory_depth)
  return dataclasses.replace(rule, structure=structure)


def make_mixer(
  config: MemoryLMConfig, attend: Callable, rngs: nnx.Rngs
) -> nnx.Module:
  """The token mixer of a block, by the architecture of the config.

  Args:
    config: sizes and choices.
    attend: the attention to call; see `nn.MultiHeadAttention`.
    rngs: Flax NNX random streams; uses "params".

  >>> import attnjax
  >>> from flax import nnx
  >>> config = MemoryLMConfig(
  ...   architecture="memory", width=8, heads=2, hidden=16)
  >>> type(make_mixer(config, attnjax.attend, nnx.Rngs(0))).__name__
  'MemoryAlone'
  """
  # A block has two residual additions.
  width, init = config.width, fan_in(1 / (2 * config.depth))
  attention = lambda window, output_init=init: WindowAttention(
    width,
    config.heads,
    window=window,
    persistent=config.persistent,
    convolution=config.convolution,
    start=config.start,
    attend=attend,
    output_init=output_init,
    rngs=rngs,
  )
  if config.architecture == "attention":
    return AttentionAlone(attention(config.window))

  layer = NeuralMemory(
    width,
    config.heads,
    rule=make_rule(config),
    writes=config.writes,
    convolution=config.convolution,
    start=config.start,
    max_rate=config.max_rate,
    output_init=init,
    rngs=rngs,
  )
  if config.architecture == "memory":
    return MemoryAlone(layer)
  if config.architecture == "mal":
    near = attention(config.window)
    return MemoryAsLayer(near, layer, width=width, rngs=rngs)
  if config.architecture == "mag":
    near = attention(config.window)
    return MemoryAsGate(
      near,
      layer,
      width=width,
      combine=config.combine,
      output_init=init,
      rngs=rngs,
    )
  # No window: the segments are what limits its attention.
  small = fan_in(_BESIDE_TOKEN**2 / (2 * config.depth))
  return MemoryAsContext(
    attention(None, small),
    layer,
    width=width,
    segment=config.segment,
    combine=config.combine,
    output_init=init,
    rngs=rngs,
  )
