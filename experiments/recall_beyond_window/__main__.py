"""Trains recall at one length and tests it at others, variant by variant."""

from pathlib import Path

from attnjax.runs import by_seed, run, write_results
from experiments.recall_beyond_window import report
from experiments.recall_beyond_window.config import PRESETS, RecallConfig
from experiments.recall_beyond_window.trial import trial


def main(config: RecallConfig, workdir: Path) -> None:
  """Trains every variant with every seed, tests it, and writes tables."""
  for results in by_seed(
    lambda variant, seed: trial(config, variant, seed, workdir),
    variants=config.variants,
    seeds=config.seeds,
    line=lambda name, seed, found: f"{name}, seed {seed}: {found['by length']}",
  ):
    write_results(workdir, results)
    print(report.tables(config, results), flush=True)
    print(report.check_reach(config, results))
    print(*report.draw(config, workdir, results), sep="\n", flush=True)


if __name__ == "__main__":
  run(main, PRESETS, experiment="recall_beyond_window")
