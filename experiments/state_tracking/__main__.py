"""Trains memories to follow words of groups; tests them on longer ones."""

from pathlib import Path

from attnjax.runs import run, write_results
from experiments.cells import measured_cells
from experiments.state_tracking import report
from experiments.state_tracking.config import PRESETS, TrackingConfig
from experiments.state_tracking.training import trained


def main(config: TrackingConfig, workdir: Path) -> None:
  """Trains every cell, or finds it trained, and writes tables and a figure."""
  results = measured_cells(
    config,
    workdir,
    ("groups", "variants", "rates"),
    trained,
    lambda found: found["by length"],
  )
  write_results(workdir, {str(cell): found for cell, found in results.items()})
  print(report.tables(config, results))
  print(*report.draw(config, workdir, results), sep="\n")


if __name__ == "__main__":
  run(main, PRESETS, experiment="state_tracking")
