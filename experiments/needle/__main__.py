"""Trains memories to find needles; tests them in longer haystacks."""

import functools
import itertools
from pathlib import Path

from attnjax.config import to_dict
from attnjax.runs import measure_once, run, write_results
from experiments.needle import report
from experiments.needle.config import PRESETS, NeedleConfig
from experiments.needle.training import trained


def main(config: NeedleConfig, workdir: Path) -> None:
  """Trains every cell, or finds it trained, and writes tables and figures."""
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
    print(name, results[cell]["values"], flush=True)

  write_results(workdir, {str(cell): found for cell, found in results.items()})
  print(report.tables(config, results))
  print(*report.draw(config, workdir, results), sep="\n")


if __name__ == "__main__":
  run(main, PRESETS, experiment="needle")
