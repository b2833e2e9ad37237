"""Trains memories to follow words of groups; tests them on longer ones."""

import functools
import itertools
from pathlib import Path

from attnjax.config import to_dict
from attnjax.runs import measure_once, run, write_results
from experiments.state_tracking import report
from experiments.state_tracking.config import PRESETS, TrackingConfig
from experiments.state_tracking.training import trained


def main(config: TrackingConfig, workdir: Path) -> None:
  """Trains every cell, or finds it trained, and writes tables and a figure."""
  # Which cells there are changes none of them.
  asked = to_dict(config)
  for name in ("groups", "variants", "rates", "processes"):
    asked.pop(name, None)

  results: dict[report.Cell, dict] = {}
  for cell in itertools.product(config.groups, config.variants, config.rates):
    group, variant, rate = cell
    name = f"{group} {variant} {rate:g}".replace(", ", "_").replace(" ", "_")
    results[cell] = measure_once(
      workdir / "cells" / f"{name}.json",
      asked,
      functools.partial(trained, config, *cell),
    )
    print(name, results[cell]["by length"], flush=True)

  print(report.tables(config, results))
  write_results(workdir, {str(cell): found for cell, found in results.items()})
  print(*report.draw(config, workdir, results), sep="\n")


if __name__ == "__main__":
  run(main, PRESETS, experiment="state_tracking")
