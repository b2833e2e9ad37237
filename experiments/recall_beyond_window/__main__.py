"""Trains recall from 4 to 64 pairs, by variant and width; tests it far away."""

from pathlib import Path

from attnjax.runs import run, write_results
from experiments.cells import measured_cells
from experiments.recall_beyond_window import report
from experiments.recall_beyond_window.config import PRESETS, RecallConfig
from experiments.recall_beyond_window.training import trained


def main(config: RecallConfig, workdir: Path) -> None:
  """Trains every cell, or finds it trained, and writes tables and figures."""
  results = measured_cells(
    config,
    workdir,
    ("variants", "widths", "rates"),
    trained,
    lambda found: [seed["by pairs"] for seed in found["seeds"]],
  )
  write_results(workdir, {str(cell): found for cell, found in results.items()})
  print(report.tables(config, results))
  print(report.check_reach(config, results))
  print(*report.draw(config, workdir, results), sep="\n")


if __name__ == "__main__":
  run(main, PRESETS, experiment="recall_beyond_window")
