"""Trains memories from starts bound in both halves, one, or neither."""

import functools
import itertools
from pathlib import Path

from attnjax.config import to_dict
from attnjax.runs import measure_once, run, write_results
from experiments.why_recall_is_not_learned import report
from experiments.why_recall_is_not_learned.config import PRESETS, StartsConfig
from experiments.why_recall_is_not_learned.training import trained


def main(config: StartsConfig, workdir: Path) -> None:
  """Trains every cell, or finds it trained, and writes table and curves."""
  # Which cells there are changes none of them.
  asked = to_dict(config)
  for name in ("kinds", "halves", "rates", "processes"):
    asked.pop(name, None)

  results: dict[report.Cell, dict] = {}
  for cell in itertools.product(config.kinds, config.halves, config.rates):
    kind, half, rate = cell
    name = f"{kind} {half} {rate:g}".replace(" ", "_")
    results[cell] = measure_once(
      workdir / "cells" / f"{name}.json",
      asked,
      functools.partial(trained, config, kind, half, rate),
    )
    print(name, results[cell]["steps"], flush=True)

  print(report.tables(config, results))
  write_results(workdir, {str(cell): found for cell, found in results.items()})
  print(*report.draw(config, workdir, results), sep="\n")


if __name__ == "__main__":
  run(main, PRESETS, experiment="why_recall_is_not_learned")
