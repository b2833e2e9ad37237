"""Entry point: recall of stored pairs by noisy keys, and a trained reader."""

from pathlib import Path

import jax
import numpy as np

from attnjax import runs
from attnjax.runs import run, trial_arguments, write_results
from attnjax.training import make_evaluate
from experiments.external_memory import report, trained
from experiments.external_memory.config import PRESETS, ExternalMemoryConfig
from experiments.external_memory.measure import READERS, recall


def main(config: ExternalMemoryConfig, workdir: Path) -> None:
  """Measures untrained readers on stores of every size; trains a layer."""
  found = {reader: measured(config, reader) for reader in READERS}
  for reader, recalls in found.items():
    print(report.recall_table(config, reader, recalls))

  accuracy = {
    source: [fit(config, source, seed, workdir) for seed in range(config.seeds)]
    for source in trained.SOURCES
  }

  print(report.trained_table(accuracy))
  untrained = {reader: recalls.tolist() for reader, recalls in found.items()}
  write_results(workdir, {"recall": untrained, "accuracy": accuracy})
  print(*report.draw(config, workdir, found), sep="\n")


def measured(config: ExternalMemoryConfig, reader: str) -> np.ndarray:
  """Recall of one reader, ``seeds sizes noises``."""

  def one(seed: int, size: int, noise: float) -> float:
    return float(
      recall(
        jax.random.key(seed),
        reader=reader,
        size=size,
        noise=noise,
        width=config.width,
        symbols=config.symbols,
        questions=config.questions,
      )
    )

  # Of all readers a seed has the same stores and questions.
  seeds = range(config.seeds)
  return np.array(
    [
      [
        [one(seed, size, noise) for noise in config.noises]
        for size in config.sizes
      ]
      for seed in seeds
    ]
  )


def fit(
  config: ExternalMemoryConfig, source: str, seed: int, workdir: Path
) -> float:
  """Trains the layer on one source; returns its held-out accuracy."""
  # Seed 99,999 is of no training run: these stores are held out.
  fitted = runs.fit(
    trained.make(config, seed),
    trained.Loss(source),
    trained.Batches(config, seed),
    evaluate=make_evaluate(trained.Loss(source)).on(
      [trained.Batches(config, 99_999)(n) for n in range(16)]
    ),
    **trial_arguments(
      config,
      experiment="external_memory",
      variant=source,
      seed=seed,
      workdir=workdir,
    ),
  )
  return fitted.records[-1]["accuracy"]


if __name__ == "__main__":
  run(main, PRESETS, experiment="external_memory")
