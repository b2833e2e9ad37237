"""Trains every architecture at one length, reads on to 16 times that length."""

from pathlib import Path

from attnjax.data import load_text
from experiments.memory_lm import report, task
from experiments.memory_lm.config import PRESETS, MemoryTextConfig
from experiments.memory_lm.trial import trial
from experiments.results import write_results
from experiments.runs import run


def main(config: MemoryTextConfig, workdir: Path) -> None:
  """Trains every variant with every seed, and reads long rows with each."""
  text = load_text(config.data)
  rows = task.long_rows(config, text)
  results: dict[str, list[dict]] = {name: [] for name in config.variants}
  # Seeds outside: a run that is cut short has as many of every variant.
  for seed in range(config.seeds):
    for variant in config.variants:
      try:
        found = trial(config, text, rows, variant, seed, workdir)
      except FloatingPointError as error:  # a result too: said, and left out
        print(f"{variant}, seed {seed} diverged: {error}", flush=True)
        continue
      results[variant].append(found)
      print(report.line(config, variant, seed, found), flush=True)
      write_results(workdir, results)
    if any(results.values()):
      print(report.tables(config, results), flush=True)
      print(*report.draw(config, workdir, results), sep="\n", flush=True)


if __name__ == "__main__":
  run(main, PRESETS, experiment="memory_lm")
