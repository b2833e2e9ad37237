"""Figures of effective weights, and of glimpses at a mosaic."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from attnjax.viz import style
from experiments.glimpse import mosaic, places
from experiments.glimpse.config import MosaicConfig
from experiments.glimpse.digits import SIDE

__all__ = ["draw_effective", "draw_glimpses"]

QUADRANTS = ("top left", "top right", "bottom left", "bottom right")


def draw_effective(
  path: Path, found: Mapping[str, Sequence[places.Result]]
) -> Path:
  """Draws effective weights of the first seed, a panel a variant, and truth."""
  truth = np.eye(places.LENGTH)[list(places.PLACES)]
  panels = {"truth": truth} | {
    name: runs[0].effective for name, runs in found.items()
  }
  columns = 4
  lines = -(-len(panels) // columns)
  figure = style.new_figure(8.4, 1.45 * lines + 0.5)
  grid = figure.subplots(lines, columns, squeeze=False)

  for axes in grid.flat[len(panels) :]:
    axes.remove()

  for index, (name, weights) in enumerate(panels.items()):
    axes = grid.flat[index]
    image = _matrix(axes, weights, name)
    if index % columns == 0:
      axes.set_ylabel("context", fontsize=9, color=style.QUIET)
    if index + columns >= len(panels):
      axes.set_xlabel("place", fontsize=9, color=style.QUIET)

  bar = figure.colorbar(image, ax=list(grid.flat[: len(panels)]), shrink=0.6)
  bar.outline.set_visible(False)
  bar.set_label("weight × readout", fontsize=9, color=style.QUIET)
  bar.ax.tick_params(length=0, labelsize=8, labelcolor=style.QUIET)

  return style.save_figure(figure, path)


def draw_glimpses(
  path: Path,
  config: MosaicConfig,
  question: str,
  found: Mapping[str, Sequence[mosaic.Result]],
) -> Path:
  """Draws one mosaic, weighted by each of four contexts, and the weights."""
  result = found["glimpse"][0]
  # A mosaic with four different digits, so that it answers either question.
  row = next(n for n, x in enumerate(result.mosaics.labels) if len(set(x)) == 4)
  image, labels = (part[row] for part in result.mosaics)
  contexts = np.arange(4) if question == "place" else labels
  weights, answers = _look(result, image, contexts, question, config)
  names = (
    [f"{place}?" for place in QUADRANTS]
    if question == "place"
    else [f"where is the {label}?" for label in labels]
  )
  figure = style.new_figure(8.4, 3.7)
  grid = figure.subplots(2, 5)
  _picture(grid[0, 0], image, "the mosaic")
  grid[1, 0].remove()

  for n, (weight, answer) in enumerate(zip(weights, answers, strict=True)):
    said = answer if question == "place" else QUADRANTS[answer]
    repeat = 2 * SIDE // len(weight)
    # Relative to the largest weight: shares of 1/T would be pale.
    seen = image * np.kron(weight, np.ones((repeat, repeat))) / weight.max()
    _picture(grid[0, n + 1], seen, names[n])
    _picture(grid[1, n + 1], weight, f"“{said}”")

  return style.save_figure(figure, path)


def _look(result: mosaic.Result, image, contexts, question, config):
  """Glimpse weights as squares ``4 S S``, a context each; the answers ``4``."""
  net: Any = result.net
  inputs = mosaic.inputs_of(np.stack([image] * 4), question, config)
  logits, aux = net(
    jnp.asarray(inputs), jnp.asarray(contexts, jnp.int32), aux=("weights",)
  )
  # Patches, or quadrants, are a square in row-major order.
  weights = np.asarray(aux.weights)
  side = round(weights.shape[-1] ** 0.5)
  return weights.reshape(-1, side, side), np.asarray(logits).argmax(-1)


def _matrix(axes: Any, weights: np.ndarray, title: str) -> Any:
  """Heat map of contexts by places, clipped to [0, 1]; returns the image."""
  image = axes.imshow(
    weights, cmap=style.weight_colormap(), vmin=0, vmax=1, aspect="equal"
  )
  axes.set_title(title, fontsize=9, color=style.INK)
  axes.set_xticks(range(weights.shape[1]))
  axes.set_yticks(range(weights.shape[0]))
  style.quiet_axes(axes, sides=("left", "right", "top", "bottom"))
  axes.tick_params(labelsize=7)
  return image


def _picture(axes: Any, image: np.ndarray, title: str) -> None:
  """Shows an image without ticks, dark where values are large."""
  axes.imshow(image, cmap=style.weight_colormap(), vmin=0)
  axes.set_title(title, fontsize=9, color=style.INK)
  axes.set_xticks([])
  axes.set_yticks([])
  style.quiet_axes(axes, sides=("left", "right", "top", "bottom"))
