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
from attnjax.ops.activations import ACTIVATIONS
from attnjax.ops.attention import attend as default_attend
from attnjax.ops.feature_dropout import Dropout
from attnjax.ops.resample import resample_grid
from attnjax.typing import Array, Float, Key

__all__ = ["ViT", "ViTConfig"]

POSITIONS = ("learned", "sinusoidal", "none")
POOLS = ("token", "mean", "token_and_mean", "none")

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
  activation: str = setting(
    "gelu", "feed-forward nonlinearity", choices=ACTIVATIONS
  )
  norm: str = block_setting("norm", "layer")
  epsilon: float = setting(
    1e-6, "added to the mean square or the variance in norms", above=0
  )
  use_bias: bool = block_setting("use_bias", True)
  attention_bias: bool | None = setting(
    None, "biases of queries, keys and values; none: as use_bias"
  )
  layer_scale: float | None = setting(
    None,
    "initial factor of what a layer adds, learned a feature; none: no factor",
    above=0,
  )
  positions: str = setting(
    "learned", "how the model knows where a patch is", choices=POSITIONS
  )
  token_position: bool = setting(
    False, "the class token has a learned position too, the first"
  )
  resample: bool = setting(
    False, "learned positions are resampled for images of another size"
  )
  pool: str = setting(
    "token",
    "what is read out: a class token of its own, the mean of the patches, both"
    " side by side, or none: the features of all tokens are the output",
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
    return rows * columns + (self.pool != "mean")

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
    if self.token_position and (
      self.pool == "mean" or self.positions != "learned"
    ):
      raise ValueError(
        "model: token_position=True needs learned positions and a class token,"
        f" got positions={self.positions!r} and pool={self.pool!r}"
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
    classes: V, of images; 0 where the pool of the config is "none", and there
      alone: nothing is read out.
    attend: the attention to call; see `nn.MultiHeadAttention`.
    rngs: Flax NNX random streams; uses "params".

  Raises:
    ValueError: from the config, if a size or an option cannot be; if there are
      no classes to read out, or some and no readout.

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
    2205.01580; both, layer scale and resampled positions: Oquab et al.,
    "DINOv2: Learning Robust Visual Features without Supervision", 2023, arXiv
    2304.07193.
  """

  def __init__(
    self,
    config: ViTConfig,
    classes: int,
    *,
    attend: Callable = default_attend,
    rngs: nnx.Rngs,
  ):
    if (classes < 1) != (config.pool == "none") or classes < 0:
      raise ValueError(
        "ViT: classes must be 0 where pool='none' and at least 1 where it is"
        f" another, got classes={classes} and pool={config.pool!r}"
      )
    self.config, self.classes = config, classes
    width, (rows, columns) = config.width, config.grid
    pixels = config.patch**2 * config.channels
    self.embed = nnx.Linear(pixels, width, rngs=rngs)
    table = lambda *shape: nnx.Param(_SMALL(rngs.params(), shape, jnp.float32))
    # By default no position is added to the class token: it is a parameter
    # itself.
    self.token = None if config.pool == "mean" else table(width)
    learned = config.positions == "learned"
    places = rows * columns + config.token_position
    self.positions = table(places, width) if learned else None

    bias = config.attention_bias
    block = lambda key: make_block(
      config,
      config.depth,
      attend,
      nnx.Rngs(key),
      epsilon=config.epsilon,
      layer_scale=config.layer_scale,
      use_bias=config.use_bias if bias is None else bias,
      output_bias=config.use_bias,
    )
    keys = jax.random.split(rngs.params(), config.depth)
    self.blocks = jax.vmap(block)(keys)
    self.norm = make_norm(
      config.norm, width, config.use_bias, rngs, epsilon=config.epsilon
    )
    pooled = 2 * width if config.pool == "token_and_mean" else width
    self.readout = (
      None
      if config.pool == "none"
      else nnx.Linear(
        pooled, classes, kernel_init=jax.nn.initializers.zeros, rngs=rngs
      )
    )

  def __call__(
    self,
    images: Float[Array, "*B Y X C"],
    *,
    dropout_key: Key[Array, ""] | None = None,
    aux: tuple[str, ...] = (),
  ):
    """Logits of the classes of images; the features, where pool="none".

    Args:
      images: ``*B Y X C``: rows of pixels, pixels of a row, channels.
      dropout_key: of a training step; None is no dropout.
      aux: what to return of every attention, as in `attnjax.attend`.

    Returns:
      ``*B V``, or what `features` returns; with `aux`, a pair with an `Aux`
      whose arrays have a leading layer axis: weights are ``L *B H T T``, the
      class token first.

    Raises:
      ValueError: if the images are no floats, or have another size than the
        config, and it does not say resample=True; or the patches do not divide
        them.
    """
    x, extra = self._features(images, dropout_key, aux)
    logits = x if self.readout is None else self.readout(self._pooled(x))
    return (logits, extra) if aux else logits

  def features(self, images: Float[Array, "*B Y X C"]):
    """Normalised features of all tokens, ``*B T M``, the class token first."""
    return self._features(images, None, ())[0]

  def _features(self, images, dropout_key, aux):
    """(features of all tokens, `Aux` or None)."""
    drop = Dropout(self.config.dropout, dropout_key)
    x = drop(self._embed(images), _EMBED)
    x, extra = run_blocks(
      self.blocks, x, drop.of(_BLOCKS), self.config.unroll, aux=aux
    )
    return self.norm(x), extra

  def _pooled(self, x):
    """What is read out of the features of all tokens."""
    # The class token stands first, see `_embed`.
    if self.config.pool == "mean":
      return x.mean(axis=-2)
    if self.config.pool == "token":
      return x[..., 0, :]
    return jnp.concatenate([x[..., 0, :], x[..., 1:, :].mean(axis=-2)], axis=-1)

  def _embed(self, images):
    """Patch embeddings plus positions, after the class token if any."""
    x = self.embed(patches(images, self.config))
    position = self._positions(
      tuple(n // self.config.patch for n in images.shape[-3:-1])
    )
    token = None if self.token is None else self.token[...]
    if self.config.token_position:
      token, position = token + position[0], position[1:]
    if position is not None:
      x = x + position.reshape((1,) * (x.ndim - 2) + position.shape)

    if token is None:
      return x
    token = jnp.broadcast_to(token, (*x.shape[:-2], 1, x.shape[-1]))
    return jnp.concatenate([token, x], axis=-2)

  def _positions(self, grid: tuple[int, int]):
    """Position encodings of a grid of patches, ``T M``, or None."""
    if self.positions is not None:
      return self._learned(self.positions[...], grid)
    if self.config.positions == "none":
      return None

    # The first half of the features encodes the row of a patch, the second its
    # column.
    code = lambda n: encodings.sinusoidal(jnp.arange(n), self.config.width // 2)
    (rows, columns), half = grid, self.config.width // 2
    down = jnp.broadcast_to(code(rows)[:, None], (rows, columns, half))
    along = jnp.broadcast_to(code(columns)[None], (rows, columns, half))
    both = jnp.concatenate([down, along], axis=-1)
    return both.reshape((rows * columns, 2 * half))

  def _learned(self, table, grid: tuple[int, int]):
    """Learned positions, resampled where the grid is another."""
    if grid == self.config.grid:
      return table
    first = int(self.config.token_position)
    inside = table[first:].reshape((*self.config.grid, table.shape[-1]))
    inside = resample_grid(inside, grid).reshape((-1, table.shape[-1]))
    return jnp.concatenate([table[:first], inside])


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
  if not jnp.issubdtype(images.dtype, jnp.floating):
    raise ValueError(
      f"ViT: images must be floats, got {images.dtype}; pixels of a file become"
      " those by an ImageProcessor, or divided by 255"
    )
  size = (config.height, config.breadth, config.channels)
  side, *sides = config.patch, *images.shape[-3:-1]
  fits = images.shape[-3:] == size
  if config.resample:
    fits = images.shape[-1:] == size[-1:] and len(sides) == 2
    fits = fits and all(n and n % side == 0 for n in sides)
  if not fits:
    raise ValueError(
      f"ViT: images must have height, breadth and channels {list(size)},"
      f"{f' or other multiples of {side} pixels,' if config.resample else ''}"
      f" got {list(images.shape[-3:])} of shape {list(images.shape)}; resize or"
      " pad them, or make a model of their size"
    )

  batch, (rows, columns) = images.shape[:-3], (n // side for n in sides)
  x = images.reshape((*batch, rows, side, columns, side, config.channels))
  # Rows and columns of patches together, and then the pixels of each.
  x = jnp.swapaxes(x, -4, -3)
  return x.reshape((*batch, rows * columns, side * side * config.channels))
