"""Tables and learning curves of the glimpse experiment."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attnjax.runs import spread, table
from attnjax.viz import save_lines
from experiments.glimpse import mosaic, places

__all__ = ["draw_curves", "mosaic_table", "places_table", "plain"]

ASKED = {
  "place": "which digit stands at this place?",
  "digit": "where does this digit stand?",
}


def places_table(found: Mapping[str, Sequence[places.Result]]) -> str:
  """Table of error and effective weights of each variant over seeds."""
  rows = [
    [
      name,
      spread([run.error for run in runs]),
      f"{max(run.error for run in runs):.1e}",
      spread([run.gap for run in runs]),
      ", ".join(f"{run.right}" for run in runs),
    ]
    for name, runs in found.items()
  ]
  columns = [
    "weights",
    "squared error",
    "of the worst seed",
    "max |e - onehot|",
    "contexts right of 5",
  ]
  floor = f"least error without the context: 1/15 = {places.BLIND:.4f}"

  return f"\n{table(columns, rows)}\n\n{floor}"


def mosaic_table(
  question: str, found: Mapping[str, Sequence[mosaic.Result]]
) -> str:
  """Table of parameters and accuracy of each variant over seeds."""
  rows = [
    [name, f"{runs[0].parameters:,}", spread([run.accuracy for run in runs])]
    for name, runs in found.items()
  ]
  columns = [ASKED[question], "parameters", "accuracy, held-out digits"]
  blind = ""
  if question == "place":
    blind = f"\n\nmost accuracy without the context: {mosaic.BLIND:.4f}"
  return f"\n{table(columns, rows)}{blind}"


def draw_curves(
  path: Path, found: Mapping[str, Sequence[places.Result]]
) -> Path:
  """Draws held-out error over optimizer steps, a band over seeds."""
  curves = {
    name: (
      [step for step, _ in runs[0].curve],
      [[error for _, error in run.curve] for run in runs],
    )
    for name, runs in found.items()
  }

  return save_lines(
    path,
    curves,
    x_label="optimizer steps",
    y_label="squared error, held-out examples",
    log_y=True,
    levels={"best without context": places.BLIND},
  )


def plain(found: Mapping[str, Sequence[Any]]) -> dict[str, list[dict]]:
  """Measures of every run, for JSON; arrays and networks are left out."""
  kept = ("error", "gap", "right", "accuracy", "parameters")
  return {
    name: [
      {key: value for key, value in vars(run).items() if key in kept}
      for run in runs
    ]
    for name, runs in found.items()
  }
