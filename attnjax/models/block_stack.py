"""Settings and parts of transformer blocks, and the scan over a stack."""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import jax
from flax import nnx

from attnjax.config import setting
from attnjax.moved import forward_names
from attnjax.nn import FeedForward, MultiHeadAttention, TransformerBlock
from attnjax.nn.initializers import fan_in
from attnjax.ops.feature_dropout import Dropout
from attnjax.typing import PyTree

__all__ = [
  "BlockConfig",
  "block_setting",
  "check_heads",
  "make_attention",
  "make_block",
  "make_feed_forward",
  "run_blocks",
]


# The settings that configs of several models share: meaning and limits.
_SETTINGS: dict[str, tuple[str, dict[str, Any]]] = {
  "width": ("model width M, features", {"at_least": 1}),
  "depth": ("transformer blocks L", {"at_least": 1}),
  "heads": ("heads H of a block; divide the width", {"at_least": 1}),
  "hidden": ("features F between the feed-forward maps", {"at_least": 1}),
  "activation": (
    "feed-forward nonlinearity",
    {"choices": ("gelu", "relu", "squared_relu", "swiglu")},
  ),
  "norm": ("normalisation", {"choices": ("rms", "layer")}),
  "use_bias": ("biases in every linear map and layer norm", {}),
  "dropout": (
    "share of the features dropped in training, in [0, 1)",
    {"at_least": 0, "below": 1},
  ),
  "unroll": (
    "blocks in one turn of the scan; more runs faster, compiles slower",
    {"at_least": 1},
  ),
}


def block_setting(name: str, default: Any) -> Any:
  """A field of a config that several models share, with its own default.

  >>> block_setting("width", 64).default
  64
  """
  meaning, limits = _SETTINGS[name]
  return setting(default, meaning, **limits)


def check_heads(config: Any, or_else: str = "") -> None:
  """Raises ValueError unless the heads of a config divide its width."""
  if config.width % config.heads:
    raise ValueError(
      f"model: heads={config.heads} must divide width={config.width}; choose"
      f" another number of heads{or_else}"
    )


@runtime_checkable
class BlockConfig(Protocol):
  """The settings of a block that the configs of models share."""

  @property
  def width(self) -> int:
    """M, features of the model."""

  @property
  def heads(self) -> int:
    """H, query heads."""

  @property
  def hidden(self) -> int:
    """F, features between the feed-forward maps."""

  @property
  def activation(self) -> str:
    """Name of the feed-forward activation."""

  @property
  def norm(self) -> str:
    """Name of the norm: rms or layer."""

  @property
  def use_bias(self) -> bool:
    """Whether maps and layer norms have biases."""


def make_attention(
  config: BlockConfig,
  additions: int,
  attend: Callable,
  rngs: nnx.Rngs,
  **options,
) -> MultiHeadAttention:
  """The attention of a block; its output has variance 1 / additions.

  With as many residual additions in the stack, the variance of the residual
  stream does not grow with depth. Options are those of the module.
  """
  return MultiHeadAttention(
    config.width,
    config.heads,
    attend=attend,
    output_init=fan_in(1 / additions),
    rngs=rngs,
    **({"use_bias": config.use_bias} | options),
  )


def make_feed_forward(
  config: BlockConfig, additions: int, rngs: nnx.Rngs
) -> FeedForward:
  """The feed-forward layer of a block, initialised as in `make_attention`."""
  return FeedForward(
    config.width,
    config.hidden,
    activation=config.activation,
    use_bias=config.use_bias,
    output_init=fan_in(1 / additions),
    rngs=rngs,
  )


def make_block(
  config: BlockConfig,
  depth: int,
  attend: Callable,
  rngs: nnx.Rngs,
  *,
  epsilon: float = 1e-6,
  layer_scale: float | None = None,
  **options,
) -> TransformerBlock:
  """One pre-norm self-attention block of a stack of `depth`.

  Options are those of its attention.
  """
  attention = make_attention(config, 2 * depth, attend, rngs, **options)

  # 2 depth additions: attention and feed-forward of each block.
  return TransformerBlock(
    attention,
    make_feed_forward(config, 2 * depth, rngs),
    width=config.width,
    norm=config.norm,
    use_bias=config.use_bias,
    epsilon=epsilon,
    layer_scale=layer_scale,
    rngs=rngs,
  )


def run_blocks(
  blocks: PyTree, x: PyTree, drop: Dropout, unroll: int, **attend_kw
):
  """Scans over stacked blocks; returns x and the stacked `Aux`, or None."""
  depth = jax.tree.leaves(blocks)[0].shape[0]

  def layer(x, block_and_drop):
    block, drop = block_and_drop
    result = block(x, drop=drop, **attend_kw)
    return result if isinstance(result, tuple) else (result, None)

  # Split by layer, for one key in all turns of the scan would drop the same
  # features in every block.
  return jax.lax.scan(layer, x, (blocks, drop.split(depth)), unroll=unroll)


# Names of earlier versions, with a `DeprecationWarning`.
__getattr__ = forward_names(__name__)
