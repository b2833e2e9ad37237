"""`MemoryLM`: a language model of attention, neural memory, or both."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from attnjax.config import Config, setting
from attnjax.models.block_stack import block_setting, check_heads
from attnjax.nn import (
  Embedding,
  FeedForward,
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
from attnjax.nn.norm import make_norm
from attnjax.nn.starts import STARTS
from attnjax.ops import memory
from attnjax.ops.attention import attend as default_attend
from attnjax.typing import Array, DTypeLike, Float, Int, PyTree

__all__ = [
  "ARCHITECTURES",
  "RULES",
  "MemoryLM",
  "MemoryLMConfig",
  "make_rule",
  "norms_by_layer",
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
  """The update rule of a config."""
  rule = RULES[config.rule](chunk=config.chunk)
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


def _make_mixer(
  config: MemoryLMConfig, attend: Callable, rngs: nnx.Rngs
) -> nnx.Module:
  """The token mixer of a block, by the architecture of the config."""
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


class _Block(nnx.Module):
  """A pre-norm block of a token mixer and a feed-forward layer."""

  def __init__(self, config: MemoryLMConfig, attend: Callable, rngs: nnx.Rngs):
    norm = lambda: make_norm("rms", config.width, False, rngs)
    self.mixer_norm = norm()
    self.mixer: PyTree = _make_mixer(config, attend, rngs)
    self.feed_forward_norm = norm()
    self.feed_forward = FeedForward(
      config.width,
      config.hidden,
      activation=config.activation,
      output_init=fan_in(1 / (2 * config.depth)),
      rngs=rngs,
    )

  def __call__(self, x):
    """(x, norm of each memory after the last token, ``*B H``)."""
    change, state = self.mixer(self.mixer_norm(x))
    norm = None if state is None else state.memory.norm
    return self._add(x, change), norm

  def init_state(self, batch, capacity: int, dtype: DTypeLike):
    """The state of the mixer before the first token."""
    state = self.mixer.init_state(batch, capacity, dtype)
    # An empty state holds numpy, where values are known while tracing; the
    # carry of a scan must be an array from the first turn on.
    return jax.tree.map(jnp.asarray, state)

  def decode(self, x, state):
    """(x of one token, state after it)."""
    change, state = self.mixer.decode(self.mixer_norm(x), state)
    return self._add(x, change), state

  def _add(self, x, change):
    """x plus the mixer's output, then plus the feed-forward layer's."""
    x = x + change
    return x + self.feed_forward(self.feed_forward_norm(x))


class MemoryLM(nnx.Module):
  """A causal language model that mixes tokens by attention, memory, or both.

      x      = embed(tokens)
      x      = block[l](x), l = 0 .. L-1, causal
      logits = norm(x) · table

  Half of the attention heads have ALiBi, the others no positions, so that texts
  may be longer than in training. There are no segment ids: a memory does not
  separate packed documents.

  Args:
    config: sizes and choices.
    vocabulary: V, tokens.
    attend: the attention to call; see `nn.MultiHeadAttention`.
    rngs: Flax NNX random streams; uses "params".

  Raises:
    ValueError: from the parts, if sizes do not fit.

  >>> import jax.numpy as jnp
  >>> from attnjax.models.memory_lm import MemoryLMConfig
  >>> from flax import nnx
  >>> config = MemoryLMConfig(
  ...   architecture="memory", rule="delta_net", width=8, depth=1, heads=2,
  ...   hidden=16)
  >>> model = MemoryLM(config, 11, rngs=nnx.Rngs(0))
  >>> first, second = jnp.array([3, 1, 4]), jnp.array([3, 1, 5])
  >>> bool((model(first)[:2] == model(second)[:2]).all())
  True

  Reference:
    Behrouz, Zhong, Mirrokni, "Titans: Learning to Memorize at Test Time", 2025,
    arXiv 2501.00663, section 4.
  """

  # Read by `generate`: texts have no length limit, but all prompts one length.
  position_table = None
  ragged = False

  def __init__(
    self,
    config: MemoryLMConfig,
    vocabulary: int,
    *,
    attend: Callable = default_attend,
    rngs: nnx.Rngs,
  ):
    self.config, self.vocabulary = config, vocabulary
    self.embed = Embedding(vocabulary, config.width, rngs=rngs)
    block = lambda key: _Block(config, attend, nnx.Rngs(key))
    self.blocks = jax.vmap(block)(jax.random.split(rngs.params(), config.depth))
    self.norm = make_norm("rms", config.width, False, rngs)

  def __call__(self, tokens: Int[Array, "*B T"], *, norms: bool = False):
    """Logits of the next token at every position.

    Args:
      tokens: int ``*B T``, in [0, V); another id makes its row NaN.
      norms: whether to return the norms of the memories too, to watch them in
        training.

    Returns:
      float32 ``*B T V``; with `norms` a pair, with ``L *B H`` or None where
      there is no memory.
    """
    x, memory_norms = jax.lax.scan(
      lambda x, block: block(x),
      self.embed(tokens),
      self.blocks,
      unroll=self.config.unroll,
    )
    logits = self.embed.logits(self.norm(x))
    return (logits, memory_norms) if norms else logits

  def init_cache(
    self,
    batch: tuple[int, ...],
    capacity: int,
    dtype: DTypeLike = jnp.float32,
  ) -> PyTree:
    """State of every block before the first token, stacked as the blocks are.

    Args:
      batch: sizes of the batch axes ``*B``.
      capacity: tokens that attention without a window may read; the other
        mixers have a state of constant size, and do not use it.
      dtype: float32 or wider.
    """
    # By block, for the initial weights of a memory are its parameters.
    one = lambda block: block.init_state(batch, capacity, dtype)
    return jax.vmap(one)(self.blocks)

  def decode(
    self,
    tokens: Int[Array, "*B T"],
    cache: PyTree,
    *,
    lengths: Int[Array, "*B"] | None = None,
  ):
    """(logits, cache) of new tokens after those in the cache, one by one.

    Args:
      tokens: int ``*B T``, a prompt or one token.
      cache: from `init_cache`, or from the call before.
      lengths: None; a memory has no padding.

    Returns:
      Logits ``*B T V``, and the cache with the new tokens.

    Raises:
      ValueError: if lengths are given.
    """
    if lengths is not None:
      raise ValueError(
        "MemoryLM: every row must be as long as the others, got lengths; a"
        " memory cannot leave padding out; decode rows of one length together"
      )

    # Token after token, also for a prompt: the state after every token is what
    # the next one reads, and a segment may end anywhere in it.
    def read(cache, token):
      layer = lambda x, scanned: scanned[0].decode(x, scanned[1])
      x = self.embed(token[..., None])
      x, cache = jax.lax.scan(layer, x, (self.blocks, cache))
      return cache, self.embed.logits(self.norm(x))[..., 0, :]

    cache, logits = jax.lax.scan(read, cache, jnp.moveaxis(tokens, -1, 0))
    return jnp.moveaxis(logits, 0, -2), cache

  def read(
    self,
    tokens: Int[Array, "*B T"],
    cache: PyTree,
    *,
    lengths: Int[Array, "*B"] | None = None,
  ):
    """(logits ``*B V`` after the last token alone, cache); see `decode`."""
    logits, cache = self.decode(tokens, cache, lengths=lengths)
    return logits[..., -1, :], cache


def norms_by_layer(sizes: Float[Array, "L *B H"] | None) -> dict[str, Array]:
  """Largest memory norm of each layer, as named metrics of training.

  Where one is not finite, training stops with the layer and the step; see
  `training.train`.

  Args:
    sizes: ``L *B H``, of `MemoryLM` with ``norms=True``; None where there is no
      memory.

  >>> import jax.numpy as jnp
  >>> norms_by_layer(jnp.array([[1.0, 3.0], [2.0, 0.0]]))
  {'layer0_memory_norm': Array(3., dtype=float32), 'layer1_memory_norm': ...}
  """
  if sizes is None:
    return {}
  return {
    f"layer{layer}_memory_norm": size.max() for layer, size in enumerate(sizes)
  }
