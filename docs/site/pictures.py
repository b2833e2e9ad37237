"""The pictures of the pages about ideas: ``python -m docs.site.pictures``.

Each is drawn of what the code itself computes, and none by hand.
"""

import pathlib
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

import attnjax
from attnjax import masks, testing, viz
from attnjax.viz import style

if TYPE_CHECKING:
  import matplotlib.figure

__all__ = ["draw", "memory_picture", "partials_picture", "tiles_picture"]

IDEAS = pathlib.Path(__file__).parents[1] / "ideas"
LENGTHS = (512, 1024, 2048, 4096, 8192)
# Dense attention of a Hessian times a vector holds a gigabyte beyond this.
DENSE = LENGTHS[:-1]


def tiles_picture() -> "matplotlib.figure.Figure":
  """A mask cut into tiles: which are computed, and which need the mask."""
  mask = (masks.causal() & masks.sliding_window(left=7)) | masks.prefix(2)
  return viz.mask_figure(mask, 24, block=4)


def partials_picture() -> "matplotlib.figure.Figure":
  """One row of weights, in two parts, and what joins them."""
  query, key = jax.random.normal(jax.random.key(3), (2, 8, 1, 4))
  query = query[-1:]

  def over(keys):
    _, aux = attnjax.attend(query, keys, keys, aux=("weights", "logsumexp"))
    return np.asarray(aux.weights[0, 0]), float(aux.logsumexp[0, 0])

  whole, total = over(key)
  parts = [over(key[:4]), over(key[4:])]
  shares = [np.exp(part - total) for _, part in parts]
  joined = np.concatenate(
    [weights * share for (weights, _), share in zip(parts, shares, strict=True)]
  )
  np.testing.assert_allclose(joined, whole, rtol=1e-5)

  figure = style.new_figure(7.2, 2.6)
  left, right = figure.subplots(1, 2, sharey=True)
  place = np.arange(8)
  for number, (weights, part) in enumerate(parts):
    at = place[:4] + 4 * number
    colour = style.PALETTE[number]
    left.bar(at, weights, color=colour, width=0.7)
    right.bar(at, joined[at], color=colour, width=0.7)
    left.text(at.mean(), 1.02, f"L = {part:.2f}", ha="center", color=style.INK)
    right.text(
      at.mean(),
      1.02,
      f"share {shares[number]:.2f}",
      ha="center",
      color=style.INK,
    )
  for axes, title in ((left, "each part alone"), (right, "merged")):
    style.quiet_axes(axes, sides=("bottom",))
    axes.set_title(title, pad=18)
    axes.set_xlabel("key")
    axes.set_xticks(place)
    axes.axvline(3.5, color=style.RULE, linewidth=1)
  left.set_ylabel("weight")
  left.set_ylim(0, 1)
  return figure


def memory_picture() -> "matplotlib.figure.Figure":
  """Temporary memory against length: forward, gradient, Hessian times vector.

  Programs are compiled and do not run.
  """

  def dense(*arrays, **options):
    return attnjax.attend(*arrays, **options, implementation="reference")

  figure = style.new_figure(6.4, 3.4)
  axes = figure.subplots()
  for index, (transform, told) in enumerate(
    (("forward", "output"), ("grad", "gradient"), ("hvp", "Hessian · vector"))
  ):
    look: dict[str, Any] = style.line_look(index)
    for attend, lengths, line in (
      (attnjax.attend, LENGTHS, "-"),
      (dense, DENSE, ":"),
    ):
      held = testing.memory_growth(attend, transform, lengths)
      axes.plot(
        [*held],
        [size / 2**20 for size in held.values()],
        **{**look, "linestyle": line},
        markersize=4,
        label=told if line == "-" else f"{told}, every logit at once",
      )
  axes.set_xscale("log", base=2)
  axes.set_yscale("log")
  axes.set_xticks(LENGTHS, [str(length) for length in LENGTHS])
  style.label_axes(
    axes, "length T = S", "temporary memory, MiB", None, font=8.5
  )
  axes.legend(fontsize=8, frameon=False)
  return figure


def draw(folder: pathlib.Path = IDEAS) -> list[pathlib.Path]:
  """Draws every picture; returns the files.

  Args:
    folder: where they go.
  """
  made = {
    "tiles.png": tiles_picture,
    "partials.png": partials_picture,
    "memory.png": memory_picture,
  }
  return [
    viz.save_figure(picture(), folder / name) for name, picture in made.items()
  ]


if __name__ == "__main__":
  for path in draw():
    print(path)
