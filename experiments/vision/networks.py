"""The ViT, ablations of its attention, and two baselines."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

from attnjax import attend, masks
from attnjax.config import replace_leaves
from attnjax.models import ViT
from experiments.vision.config import VisionConfig

__all__ = ["CLASSES", "NAMES", "Blinded", "Convolution", "Linear", "count"]
__all__ += ["make"]

CLASSES = 10  # of digits and of clothes alike
NAMES = {
  "attention": "ViT",
  "alone": "ViT, each patch sees itself only",
  "uniform": "ViT, all patches seen alike",
  "unplaced": "ViT, no positions",
  "convolution": "convolution",
  "linear": "linear",
}


@dataclasses.dataclass(frozen=True)
class Blinded:
  """Drop-in for `attend` with uniform weights over the visible positions.

      out[t] = mean of value[s] over the visible s

  Args:
    alone: whether a patch sees only itself; the class token sees all.
    token: whether position 0 is a class token.
  """

  alone: bool
  token: bool

  def __call__(self, query, key, value, **attend_kw):
    """As `attnjax.attend`, but for the query, which counts as zero."""
    rule = _self_or_token if self.token else _self
    mask = masks.from_fn(rule) if self.alone else None
    # All logits are 0: softmax gives each visible key the same weight.
    blank = jnp.zeros_like(query)
    return attend(blank, key, value, mask=mask, **attend_kw)


def _self(b, h, query, key):
  """Mask rule: each position attends to itself."""
  del b, h
  return query == key


def _self_or_token(b, h, query, key):
  """Mask rule: as `_self`, and the class token attends to everything."""
  del b, h
  return (query == key) | (query == 0)


class Convolution(nnx.Module):
  """A CNN: three 3 x 3 convolutions with ReLU, then a linear readout.

  A 2 x 2 max pool follows each of the first two.

  Args:
    config: for the size of the images.
    channels: of the first layer; the others have twice as many.
    rngs: uses "params".
  """

  def __init__(self, config: VisionConfig, channels: int, rngs: nnx.Rngs):
    model = config.model
    sizes = (model.channels, channels, 2 * channels, 2 * channels)
    self.layers = nnx.List(
      nnx.Conv(sizes[n], sizes[n + 1], (3, 3), rngs=rngs) for n in range(3)
    )
    # Two pools quarter both sides.
    pixels = (model.height // 4) * (model.breadth // 4)
    self.readout = nnx.Linear(pixels * sizes[-1], CLASSES, rngs=rngs)

  def __call__(self, images, *, dropout_key=None):
    """Logits ``B V`` of images ``B Y X C``; drops nothing."""
    # An argument all the same: one loss serves every network.
    del dropout_key
    first, second, third = self.layers
    x = _halved(jax.nn.relu(first(images)))
    x = _halved(jax.nn.relu(second(x)))
    x = jax.nn.relu(third(x))
    return self.readout(x.reshape((len(x), -1)))


def _halved(x):
  """2 x 2 max pooling of ``B Y X C``; Y and X are even."""
  batch, rows, columns, channels = x.shape
  squares = (batch, rows // 2, 2, columns // 2, 2, channels)
  return x.reshape(squares).max((2, 4))


class Linear(nnx.Module):
  """Multinomial logistic regression on pixels.

  Args:
    config: for the size of the images.
    rngs: uses "params".
  """

  def __init__(self, config: VisionConfig, rngs: nnx.Rngs):
    model = config.model
    pixels = model.height * model.breadth * model.channels
    self.readout = nnx.Linear(pixels, CLASSES, rngs=rngs)

  def __call__(self, images, *, dropout_key=None):
    """Logits ``B V`` of images ``B Y X C``; drops nothing."""
    del dropout_key
    return self.readout(images.reshape((len(images), -1)))


def make(config: VisionConfig, variant: str, seed: int) -> nnx.Module:
  """A new network of a variant, initialised under jit."""
  return jax.jit(lambda: _network(config, variant, nnx.Rngs(seed)))()


def count(network: nnx.Module) -> int:
  """Number of parameters of a network."""
  return sum(leaf.size for leaf in jax.tree.leaves(network))


def _network(config: VisionConfig, variant: str, rngs: nnx.Rngs):
  """The network of a variant."""
  if variant == "linear":
    return Linear(config, rngs)
  if variant == "convolution":
    return Convolution(config, _channels(config), rngs)

  # The ablations have the parameters of the ViT, or lack its position table.
  model, options = config.model, {}
  if variant == "unplaced":
    model = replace_leaves(model, {"positions": "none"})
  elif variant != "attention":
    blinded = Blinded(variant == "alone", model.pool == "token")
    options = {"attend": blinded}

  return ViT(model, CLASSES, rngs=rngs, **options)


def _channels(config: VisionConfig) -> int:
  """Least channels with which the CNN has as many parameters as the ViT."""
  # By shapes alone: `eval_shape` draws no parameters.
  size = lambda *args: count(
    jax.eval_shape(lambda: args[0](*args[1:], nnx.Rngs(0)))
  )
  wanted, channels = size(_network, config, "attention"), 1
  while size(Convolution, config, channels) < wanted:
    channels += 1
  return channels
