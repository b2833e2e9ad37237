"""Trains every architecture at one length, reads on to 16 times that length."""

import functools
from pathlib import Path

from attnjax.data import load_text
from attnjax.runs import by_seed, run, write_results
from experiments.memory_lm import report, task
from experiments.memory_lm.config import PRESETS, MemoryTextConfig
from experiments.memory_lm.trial import trial


def main(config: MemoryTextConfig, workdir: Path) -> None:
  """Trains every variant with every seed, and reads long rows with each."""
  text = load_text(config.data)
  rows = task.long_rows(config, text)

  # Tables after each seed: hours may pass before the last.
  for results in by_seed(
    lambda variant, seed: trial(config, text, rows, variant, seed, workdir),
    variants=config.variants,
    seeds=config.seeds,
    line=functools.partial(report.line, config),
  ):
    write_results(workdir, results)
    print(report.tables(config, results), flush=True)
    print(*report.draw(config, workdir, results), sep="\n", flush=True)


if __name__ == "__main__":
  run(main, PRESETS, experiment="memory_lm")
