"""Trains a Titans memory whole and without each of its parts."""

from pathlib import Path

from attnjax.runs import run, write_results
from experiments.cells import measured_cells
from experiments.titans_ablation import report
from experiments.titans_ablation.config import PRESETS, AblationConfig
from experiments.titans_ablation.training import trained


def main(config: AblationConfig, workdir: Path) -> None:
  """Trains every cell, or finds it trained, and writes tables and a figure."""
  results = measured_cells(
    config,
    workdir,
    ("variants", "rates"),
    trained,
    lambda found: found["pairs"],
  )
  write_results(workdir, {str(cell): found for cell, found in results.items()})
  print(report.tables(config, results))
  print(*report.draw(config, workdir, results), sep="\n")


if __name__ == "__main__":
  run(main, PRESETS, experiment="titans_ablation")
