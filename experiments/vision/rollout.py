"""Attention rollout of a ViT, and a test of it by exchanging patches."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from attnjax import training
from attnjax.data import evaluation_batches
from attnjax.models import ViT, ViTConfig
from attnjax.patterns import attention_rollout
from attnjax.viz import style
from experiments.vision import task
from experiments.vision.config import VisionConfig

__all__ = ["draw", "exchange", "exchanged_accuracy", "orders", "shares"]


@jax.jit
def _look(model: ViT, images):
  """Shares ``N T`` of each patch in the readout: rollout, and last layer."""
  _, aux = model(images, aux=("weights",))
  # The last layer alone is what rollout is compared with.
  both = attention_rollout(aux.weights), aux.weights[-1].mean(axis=-3)
  if model.config.pool == "mean":
    return tuple(share.mean(axis=-2) for share in both)
  # Row 0 is the class token, which is read out; column 0 its share in itself.
  return tuple(share[..., 0, 1:] for share in both)


def shares(model: ViT, images: np.ndarray) -> dict[str, np.ndarray]:
  """Share ``N T`` of each patch in the readout, in batches.

  Args:
    model: trained.
    images: ``N Y X C``.

  Returns:
    By "rollout", through all layers, and in the "last layer" alone. What stays
    in the class token is left out, so that rows sum to less than 1.
  """
  found = [
    _look(model, jnp.asarray(images[start : start + task.EXAMINED]))
    for start in range(0, len(images), task.EXAMINED)
  ]
  rolled, last = (np.concatenate(part) for part in zip(*found, strict=True))
  return {"rollout": rolled, "last layer": last}


def exchange(
  images: np.ndarray, chosen: np.ndarray, config: ViTConfig
) -> np.ndarray:
  """Replaces the chosen patches ``N T`` by those of the next image.

  Blacking them out would leave empty patches unchanged, though emptiness may
  be informative.
  """
  grid = chosen.reshape((len(images), *config.grid))
  pixels = grid.repeat(config.patch, axis=1).repeat(config.patch, axis=2)
  return np.where(pixels[..., None], np.roll(images, -1, axis=0), images)


def orders(model: ViT, images: np.ndarray) -> dict[str, np.ndarray]:
  """Criterion -> scores ``N T``; patches with the highest are exchanged."""
  config = model.config
  looks = shares(model, images)
  (rows, columns), side = config.grid, config.patch

  # Ink is the sum of a patch's pixels: a criterion without any attention.
  squares = images.reshape(len(images), rows, side, columns, side, -1)
  ink = squares.sum((2, 4, 5)).reshape(len(images), -1)
  # One seed for "any": all models are examined on the same random patches.
  rng = np.random.default_rng(0)

  return {
    "most rollout": looks["rollout"],
    "most of the last layer": looks["last layer"],
    "brightest": ink,
    "any": rng.random(ink.shape),
    "least rollout": -looks["rollout"],
  }


def exchanged_accuracy(
  config: VisionConfig, splits: task.ImageSplits, model: ViT
) -> dict[str, float]:
  """Held-out accuracy after exchanging patches, by criterion."""
  evaluate = training.make_evaluate(task.loss)
  arrays = splits.held.arrays
  images, found = arrays["image"], {}
  # At least one, or a small grid would be examined unchanged.
  number = max(round(config.exchanged * np.prod(model.config.grid)), 1)

  for name, scores in orders(model, images).items():
    # The same number of patches of every image, whatever the criterion.
    chosen = np.zeros(scores.shape, bool)
    # Stable, so that ties are the same patches on every machine.
    most = np.argsort(-scores, axis=1, kind="stable")[:, :number]
    np.put_along_axis(chosen, most, True, axis=1)
    mixed = exchange(images, chosen, model.config)
    examples = type(splits.held)(dict(arrays) | {"image": mixed})
    batches = evaluation_batches(examples, min(task.EXAMINED, len(examples)))
    found[name] = evaluate(model, batches)["accuracy"]

  return found


def draw(path: Path, splits: task.ImageSplits, model: ViT) -> Path:
  """Draws held-out images of eight classes, with the share of each patch."""
  arrays = splits.held.arrays
  first = [int((arrays["label"] == n).argmax()) for n in range(10)][:8]
  images = arrays["image"][first]
  looks = shares(model, images)
  said = np.asarray(model(jnp.asarray(images)).argmax(-1))
  figure = style.new_figure(8.4, 3.6)
  grid = figure.subplots(3, len(first))

  for n, (image, answer) in enumerate(zip(images, said, strict=True)):
    title = splits.classes[answer]
    right = answer == arrays["label"][first[n]]
    _panel(grid[0, n], image[..., 0], f"“{title}”" + ("" if right else " ✗"))
    for row, name in enumerate(looks, start=1):
      _overlay(grid[row, n], image, looks[name][n], model.config)

  for axes, name in zip(grid[:, 0], ("image", *looks), strict=True):
    axes.set_ylabel(name, fontsize=8, color=style.QUIET)

  return style.save_figure(figure, path)


def _overlay(axes: Any, image, share, config: ViTConfig) -> None:
  """Heat map of the share of each patch, with the image as a contour."""
  # Relative to its own maximum: the shares of 1/T would be pale.
  square = share.reshape(config.grid) / share.max()
  ones = np.ones((config.patch, config.patch))
  _panel(axes, np.kron(square, ones), "")
  axes.contour(image[..., 0], levels=[0.4], colors=["#d1495b"], linewidths=0.8)


def _panel(axes: Any, image: np.ndarray, title: str) -> None:
  """Shows an image without ticks, dark where values are large."""
  axes.imshow(image, cmap=style.weight_colormap(), vmin=0)
  axes.set_title(title, fontsize=8, color=style.INK)
  axes.set_xticks([])
  axes.set_yticks([])
  style.quiet_axes(axes, sides=("left", "right", "top", "bottom"))
