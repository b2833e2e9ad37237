"""Trains memories from starts bound in both halves, one, or neither."""

from pathlib import Path

from attnjax.runs import run, write_results
from experiments.cells import measured_cells
from experiments.why_recall_is_not_learned import report
from experiments.why_recall_is_not_learned.config import PRESETS, StartsConfig
from experiments.why_recall_is_not_learned.training import trained


def main(config: StartsConfig, workdir: Path) -> None:
  """Trains every cell, or finds it trained, and writes table and curves."""
  results = measured_cells(
    config,
    workdir,
    ("kinds", "halves", "rates"),
    trained,
    lambda found: found["steps"],
  )
  write_results(workdir, {str(cell): found for cell, found in results.items()})
  print(report.tables(config, results))
  print(*report.draw(config, workdir, results), sep="\n")


if __name__ == "__main__":
  run(main, PRESETS, experiment="why_recall_is_not_learned")
