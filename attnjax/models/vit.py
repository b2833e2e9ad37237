"""`ViT`: a vision transformer over the patches of an image."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from attnjax.config import Config, setting
from attnjax.models.block_stack import (
  block_setting,
  check_heads,
  make_block,
  run_blocks,
)
from attnjax.nn.norm import make_norm
from attnjax.ops import positions as encodings
from attnjax.ops.attention import attend as default_attend
from attnjax.ops.feature_dropout import Dropout
from attnjax.typing import Array, Float, Key

__all__ = ["ViT", "ViTConfig"]

POSITIONS = ("learned", "sinusoidal", "none")
POOLS = ("token", "mean")

# Standard deviation of the tables, as of the embeddings of `nn.Embedding`.
_SMALL = jax.nn.initializers.normal(0.02)
_EMBED, _BLOCKS = 0, 1  # numbers of the dropouts


@dataclasses.dataclass(frozen=True)
class ViTConfig(Config):
  """Sizes and choices of a `ViT`."""

  height: int = setting(28, "of an image, pixels", at_least=1)
  breadth: int = setting(
    28, "of an image, pixels from left to right", at_least=1
  )
  channels: int = setting(1, "of a pixel: 1 is grey, 3 is colour", at_least=1)
  patch: int = setting(
    4, "side of a patch, pixels; divides both sides", at_least=1
  )
  width: int = block_setting("width", 64)
  depth: int = block_setting("depth", 4)
  heads: int = block_setting("heads", 4)
  hidden: int = block_setting("hidden", 128)
  activation: str = block_setting("activation", "gelu")
  norm: str = block_setting("norm", "layer")
  use_bias: bool = block_setting("use_bias", True)
  positions: str = setting(
    "learned", "how the model knows where a patch is", choices=POSITIONS
  )
  pool: str = setting(
    "token",
    "what is read out: a class token of its own, or the mean of the patches",
    choices=POOLS,
  )
  dropout: float = block_setting("dropout", 0.0)
  unroll: int = block_setting("unroll", 1)

  @property
  def grid(self) -> tuple[int, int]:
    """Patches from top to bottom, and from left to right."""
    return self.height // self.patch, self.breadth // self.patch

  @property
  def tokens(self) -> int:
    """T, patches and the class token where there is one."""
    rows, columns = self.grid
    return rows * columns + (self.pool == "token")

  def __post_init__(self):
    super().__post_init__()
    if self.height % self.patch or self.breadth % self.patch:
      raise ValueError(
        f"model: patch={self.patch} must divide the image of {self.height} x"
        f" {self.breadth} pixels; choose another patch, or pad the images"
      )

    check_heads(self)

    # A sine and a cosine of the row, a sine and a cosine of the column.
    if self.positions == "sinusoidal" and self.width % 4:
      raise ValueError(
        "model: sinusoidal positions have pairs of features for either side,"
        f" so the width must be a multiple of 4, got {self.width}"
      )


class ViT(nnx.Module):
  """A pre-norm transformer over the patches of an image.

      x      = patches(image) W + b [+ position]
      x      = [class token; x]
      x      = block[l](x), l = 0 .. L-1, without a mask
      logits = norm(x)[class token] W_out + b_out, or of the mean of the patches

  The readout starts at 0, so that the initial loss is ln V.

  Args:
    config: sizes and choices.
    classes: V, of images.
    attend: the attention to call; see `nn.MultiHeadAttention`.
    rngs: Flax NNX random streams; uses "params".

  Raises:
    ValueError: from the config, if a size or an option cannot be.

  >>> import jax.numpy as jnp
  >>> from attnjax.models.vit import ViTConfig
  >>> from flax import nnx
  >>> config = ViTConfig(height=4, breadth=6, patch=2, width=8, depth=1)
  >>> model = ViT(config, 3, rngs=nnx.Rngs(0))
  >>> model(jnp.ones((5, 4, 6, 1))).shape
  (5, 3)
  >>> _, aux = model(jnp.ones((5, 4, 6, 1)), aux=("weights",))
  >>> aux.weights.shape  # 6 patches and the class token
  (1, 5, 4, 7, 7)

  Reference:
    Dosovitskiy et al., "An Image is Worth 16x16 Words: Transformers for Image
    Recognition at Scale", 2020, arXiv 2010.11929; mean and sinusoids: Beyer,
    Zhai, Kolesnikov, "Better plain ViT baselines for ImageNet-1k", 2022, arXiv
    2205.01580.
  """

  def __init__(
    self,
    config: ViTConfig,
    classes: int,
    *,
    attend: Callable = default_attend,
    rngs: nnx.Rngs,
  ):
    self.config = config
    width, (rows, columns) = config.width, config.grid
    pixels = config.patch**2 * config.channels
    self.embed = nnx.Linear(pixels, width, rngs=rngs)
    table = lambda *shape: nnx.Param(_SMALL(rngs.params(), shape, jnp.float32))
    # No position is added to the class token: it is a parameter itself.
    self.token = table(width) if config.pool == "token" else None
    learned = config.positions == "learned"
    self.positions = table(rows * columns, width) if learned else None

    block = lambda key: make_block(config, config.depth, attend, nnx.Rngs(key))
    keys = jax.random.split(rngs.params(), config.depth)
    self.blocks = jax.vmap(block)(keys)
    self.norm = make_norm(config.norm, width, config.use_bias, rngs)
    self.readout = nnx.Linear(
      width, classes, kernel_init=jax.nn.initializers.zeros, rngs=rngs
    )

  def __call__(
    self,
    images: Float[Array, "*B Y X C"],
    *,
    dropout_key: Key[Array, ""] | None = None,
    aux: tuple[str, ...] = (),
  ):
    """Logits of the classes of images.

    Args:
      images: ``*B Y X C``: rows of pixels, pixels of a row, channels.
      dropout_key: of a training step; None is no dropout.
      aux: what to return of every attention, as in `attnjax.attend`.

    Returns:
      ``*B V``; with `aux`, a pair with an `Aux` whose arrays have a leading
      layer axis: weights are ``L *B H T T``, the class token first.

    Raises:
      ValueError: if the images have another size than the config.
    """
    drop = Dropout(self.config.dropout, dropout_key)
    x = drop(self._embed(images), _EMBED)
    x, extra = run_blocks(
      self.blocks, x, drop.of(_BLOCKS), self.config.unroll, aux=aux
    )

    x = self.norm(x)
    # The class token stands first, see `_embed`.
    x = x.mean(axis=-2) if self.token is None else x[..., 0, :]
    logits = self.readout(x)
    return (logits, extra) if aux else logits

  def _embed(self, images):
    """Patch embeddings plus positions, after the class token if any."""
    x = self.embed(patches(images, self.config))
    position = self._positions()
    if position is not None:
      x = x + position.reshape((1,) * (x.ndim - 2) + position.shape)

    if self.token is None:
      return x
    token = jnp.broadcast_to(self.token[...], (*x.shape[:-2], 1, x.shape[-1]))
    return jnp.concatenate([token, x], axis=-2)

  def _positions(self):
    """Position encodings of the patches, ``T M``, or None."""
    if self.positions is not None:
      return self.positions[...]
    if self.config.positions == "none":
      return None

    # The first half of the features encodes the row of a patch, the second its
    # column.
    code = lambda n: encodings.sinusoidal(jnp.arange(n), self.config.width // 2)
    (rows, columns), half = self.config.grid, self.config.width // 2
    down = jnp.broadcast_to(code(rows)[:, None], (rows, columns, half))
    along = jnp.broadcast_to(code(columns)[None], (rows, columns, half))
    both = jnp.concatenate([down, along], axis=-1)
    return both.reshape((rows * columns, 2 * half))


def patches(
  images: Float[Array, "*B Y X C"], config: ViTConfig
) -> Float[Array, "*B T D"]:
  """Cuts images into patches, row by row from the top left.

  >>> import jax.numpy as jnp
  >>> from attnjax.models.vit import ViTConfig
  >>> config = ViTConfig(height=2, breadth=4, patch=2)
  >>> image = jnp.arange(8.0).reshape(2, 4, 1)
  >>> patches(image, config).tolist()
  [[0.0, 1.0, 4.0, 5.0], [2.0, 3.0, 6.0, 7.0]]
  """
  size = (config.height, config.breadth, config.channels)
  if images.shape[-3:] != size:
    raise ValueError(
      f"ViT: images must have height, breadth and channels {list(size)}, got"
      f" {list(images.shape[-3:])} of shape {list(images.shape)}; resize or pad"
      " them, or make a model of their size"
    )

  batch, (rows, columns), side = images.shape[:-3], config.grid, config.patch
  x = images.reshape((*batch, rows, side, columns, side, config.channels))
  # Rows and columns of patches together, and then the pixels of each.
  x = jnp.swapaxes(x, -4, -3)
  return x.reshape((*batch, rows * columns, side * side * config.channels))
