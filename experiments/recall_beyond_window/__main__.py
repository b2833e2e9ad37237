"""Trains at one length, asks at others: with a window, a memory, or both."""

from pathlib import Path

from experiments.recall_beyond_window import report
from experiments.recall_beyond_window.config import PRESETS, RecallConfig
from experiments.recall_beyond_window.trial import trial
from experiments.results import write_results
from experiments.runs import run


def main(config: RecallConfig, workdir: Path) -> None:
  """Trains every variant with every seed; asks, and changes the memories."""
  results: dict[str, list[dict]] = {name: [] for name in config.variants}
  # Seeds outside: a run that is cut short has as many of every variant.
  for seed in range(config.seeds):
    for variant in config.variants:
      try:
        found = trial(config, variant, seed, workdir)
      except FloatingPointError as error:  # a result too: said, and left out
        print(f"{variant}, seed {seed} diverged: {error}", flush=True)
        continue
      results[variant].append(found)
      print(f"{variant}, seed {seed}: {found['by length']}", flush=True)
    print(report.tables(config, results), flush=True)
    print(report.check_reach(config, results))
    print(*report.draw(config, workdir, results), sep="\n", flush=True)
    write_results(workdir, results)


if __name__ == "__main__":
  run(main, PRESETS, experiment="recall_beyond_window")
