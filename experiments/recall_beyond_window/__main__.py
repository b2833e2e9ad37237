"""Trains recall from 4 to 64 pairs, by variant and width; tests it far away."""

import functools
import itertools
from pathlib import Path

from attnjax.config import to_dict
from attnjax.runs import measure_once, run, write_results
from experiments.recall_beyond_window import report
from experiments.recall_beyond_window.config import PRESETS, RecallConfig
from experiments.recall_beyond_window.training import trained


def main(config: RecallConfig, workdir: Path) -> None:
  """Trains every cell, or finds it trained, and writes tables and figures."""
  # Which cells there are changes none of them.
  asked = to_dict(config)
  for name in ("variants", "widths", "rates", "processes"):
    asked.pop(name, None)

  results: dict[report.Cell, dict] = {}
  for cell in itertools.product(config.variants, config.widths, config.rates):
    variant, width, rate = cell
    name = f"{variant} {width} {rate:g}".replace(" ", "_")
    results[cell] = measure_once(
      workdir / "cells" / f"{name}.json",
      asked,
      functools.partial(trained, config, *cell),
    )
    pairs = [seed["by pairs"] for seed in results[cell]["seeds"]]
    print(name, pairs, flush=True)

  write_results(workdir, {str(cell): found for cell, found in results.items()})
  print(report.tables(config, results))
  print(report.check_reach(config, results))
  print(*report.draw(config, workdir, results), sep="\n")


if __name__ == "__main__":
  run(main, PRESETS, experiment="recall_beyond_window")
