"""Measures memory and time of attention over length; prints their slopes."""

from pathlib import Path

from attnjax import config as configs
from attnjax.runs import write_results
from experiments.context_cost import report
from experiments.context_cost.config import PRESETS, ContextCostConfig
from experiments.context_cost.measure import costs


def main(config: ContextCostConfig, workdir: Path) -> None:
  """Measures length after length, the longest last."""
  found = []
  for length in sorted(config.lengths):
    found += costs(config, length)
    print(f"T = {length}: measured", flush=True)

  print(report.cost_table(config, found))
  print(report.slope_table(found))
  write_results(workdir, {"costs": [cost._asdict() for cost in found]})
  print(*report.draw(workdir, found), sep="\n")


if __name__ == "__main__":
  configs.run(main, PRESETS, experiment="context_cost")
