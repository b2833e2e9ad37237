"""Trains a Titans memory whole and without each of its parts."""

import functools
import itertools
from pathlib import Path

from attnjax.config import to_dict
from attnjax.runs import measure_once, run, write_results
from experiments.titans_ablation import report
from experiments.titans_ablation.config import PRESETS, AblationConfig
from experiments.titans_ablation.training import trained


def main(config: AblationConfig, workdir: Path) -> None:
  """Trains every cell, or finds it trained, and writes tables and a figure."""
  # Which cells there are changes none of them.
  asked = to_dict(config)
  for name in ("variants", "rates", "processes"):
    asked.pop(name, None)

  results: dict[report.Cell, dict] = {}
  for cell in itertools.product(config.variants, config.rates):
    variant, rate = cell
    name = f"{variant} {rate:g}".replace(" ", "_")
    results[cell] = measure_once(
      workdir / "cells" / f"{name}.json",
      asked,
      functools.partial(trained, config, variant, rate),
    )
    print(name, results[cell]["pairs"], flush=True)

  write_results(workdir, {str(cell): found for cell, found in results.items()})
  print(report.tables(config, results))
  print(*report.draw(config, workdir, results), sep="\n")


if __name__ == "__main__":
  run(main, PRESETS, experiment="titans_ablation")
