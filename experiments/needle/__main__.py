"""Trains memories to find needles; tests them in longer haystacks."""

from pathlib import Path

from attnjax.runs import run, write_results
from experiments.cells import measured_cells
from experiments.needle import report
from experiments.needle.config import PRESETS, NeedleConfig
from experiments.needle.training import trained


def main(config: NeedleConfig, workdir: Path) -> None:
  """Trains every cell, or finds it trained, and writes tables and figures."""
  results = measured_cells(
    config,
    workdir,
    ("variants", "rates"),
    trained,
    lambda found: found["values"],
  )
  write_results(workdir, {str(cell): found for cell, found in results.items()})
  print(report.tables(config, results))
  print(*report.draw(config, workdir, results), sep="\n")


if __name__ == "__main__":
  run(main, PRESETS, experiment="needle")
