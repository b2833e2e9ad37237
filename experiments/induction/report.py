"""Tables and the figure of the induction experiment."""

from pathlib import Path
from typing import Any

from attnjax import viz
from experiments.induction.measure import Scores

__all__ = ["draw", "loss_table", "score_table"]


def score_table(found: Scores, count: int) -> str:
  """The heads of the largest scores, as layer.head and score."""
  lines = []
  for what in Scores._fields:
    array = getattr(found, what)
    heads = " ".join(
      f"{layer}.{head} {array[layer, head]:.2f}"
      for layer, head in found.best(what, count)
    )
    lines.append(f"{what:10} {heads}")
  return "\n".join(lines)


def loss_table(results: list[dict[str, Any]]) -> str:
  """Nats a token of the first and the second time, a row a set of heads."""
  head = f"{'silenced':28}{'first time':>12}{'second time':>13}"
  rows = [
    f"{row['silenced']:28}{row['first']:12.2f}{row['second']:13.2f}"
    + (f"  ({row['least']:.2f} to {row['most']:.2f})" if "least" in row else "")
    for row in results
  ]
  return "\n".join([head, *rows])


def draw(workdir: Path, found: Scores) -> Path:
  """Draws both scores of every head, layers down and heads across."""
  import matplotlib.figure

  figure = matplotlib.figure.Figure(figsize=(6.4, 4.8), layout="constrained")
  panels = figure.subplots(1, 2, sharey=True)
  for axes, what in zip(panels, Scores._fields, strict=True):
    image = axes.imshow(
      getattr(found, what), vmin=0, vmax=1, aspect="auto", cmap="Blues"
    )
    axes.set(title=f"{what} score", xlabel="head")
  panels[0].set_ylabel("layer")
  figure.colorbar(image, ax=panels)
  return viz.save_figure(figure, workdir / "scores.png")
