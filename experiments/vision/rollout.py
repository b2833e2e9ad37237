"""Where a vision transformer looks, and whether what it looks at matters."""

from collections.abc import Mapping
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
  """What the readout draws from each patch, by rollout and in layer L - 1."""
  _, aux = model(images, aux=("weights",))
  both = attention_rollout(aux.weights), aux.weights[-1].mean(axis=-3)
  if model.config.pool == "mean":
    return tuple(share.mean(axis=-2) for share in both)
  return tuple(share[..., 0, 1:] for share in both)


def shares(model: ViT, images: np.ndarray) -> dict[str, np.ndarray]:
  """The share ``N T`` of each patch in what is read out.

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
  """Images ``N Y X C`` whose chosen patches ``N T`` are those of the next one.

  Black patches would not do: a patch that is empty, which may say much, would
  stay what it is.
  """
  grid = chosen.reshape((len(images), *config.grid))
  pixels = grid.repeat(config.patch, axis=1).repeat(config.patch, axis=2)
  return np.where(pixels[..., None], np.roll(images, -1, axis=0), images)


def orders(model: ViT, images: np.ndarray) -> dict[str, np.ndarray]:
  """Scores ``N T`` of the patches: those with the highest are exchanged."""
  config = model.config
  looks = shares(model, images)
  (rows, columns), side = config.grid, config.patch
  squares = images.reshape(len(images), rows, side, columns, side, -1)
  ink = squares.sum((2, 4, 5)).reshape(len(images), -1)
  rng = np.random.default_rng(0)

  return {
    "most rollout": looks["rollout"],
    "most of the last layer": looks["last layer"],
    "brightest": ink,
    "any": rng.random(ink.shape),
    "least rollout": -looks["rollout"],
  }


def exchanged_accuracy(
  config: VisionConfig, sides: task.Sides, model: ViT
) -> dict[str, float]:
  """Held-out accuracy with some patches of another image, by which ones."""
  evaluate = training.make_evaluate(task.loss)
  arrays = sides.held.arrays
  images, found = arrays["image"], {}
  number = max(round(config.exchanged * np.prod(model.config.grid)), 1)

  for name, scores in orders(model, images).items():
    chosen = np.zeros(scores.shape, bool)
    most = np.argsort(-scores, axis=1, kind="stable")[:, :number]
    np.put_along_axis(chosen, most, True, axis=1)
    mixed = exchange(images, chosen, model.config)
    examples = type(sides.held)(dict(arrays) | {"image": mixed})
    batches = evaluation_batches(examples, min(task.EXAMINED, len(examples)))
    found[name] = evaluate(model, batches)["accuracy"]

  return found


def draw(path: Path, sides: task.Sides, model: ViT) -> Path:
  """One held-out image of each class, and what the readout draws from it."""
  arrays = sides.held.arrays
  first = [int((arrays["label"] == n).argmax()) for n in range(10)][:8]
  images = arrays["image"][first]
  looks = shares(model, images)
  said = np.asarray(model(jnp.asarray(images)).argmax(-1))
  figure = style.new_figure(8.4, 3.6)
  grid = figure.subplots(3, len(first))

  for n, (image, answer) in enumerate(zip(images, said, strict=True)):
    title = sides.classes[answer]
    right = answer == arrays["label"][first[n]]
    _panel(grid[0, n], image[..., 0], f"“{title}”" + ("" if right else " ✗"))
    for row, name in enumerate(looks, start=1):
      _overlay(grid[row, n], image, looks[name][n], model.config)

  _name_rows(grid, looks)

  return style.save_figure(figure, path)


def _overlay(axes: Any, image, share, config: ViTConfig) -> None:
  """The image in thin grey, and the share of each patch over it."""
  square = share.reshape(config.grid) / share.max()
  ones = np.ones((config.patch, config.patch))
  _panel(axes, np.kron(square, ones), "")
  axes.contour(image[..., 0], levels=[0.4], colors=["#d1495b"], linewidths=0.8)


def _panel(axes: Any, image: np.ndarray, title: str) -> None:
  """A picture, dark where it is large."""
  axes.imshow(image, cmap=style.weight_colormap(), vmin=0)
  axes.set_title(title, fontsize=8, color=style.INK)
  axes.set_xticks([])
  axes.set_yticks([])
  style.quiet_axes(axes, sides=("left", "right", "top", "bottom"))


def _name_rows(grid: Any, looks: Mapping[str, Any]) -> None:
  """What each line of panels shows."""
  for axes, name in zip(grid[:, 0], ("image", *looks), strict=True):
    axes.set_ylabel(name, fontsize=8, color=style.QUIET)
