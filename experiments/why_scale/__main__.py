"""Entry point: softmax saturation over width, and training, by scoring."""

import math
from pathlib import Path

import jax

from attnjax.runs import fit, run, trial_arguments, write_results
from attnjax.training import make_evaluate
from experiments.why_scale import lookup, report
from experiments.why_scale.config import PRESETS, WhyScaleConfig
from experiments.why_scale.measure import SCORINGS, measure


def main(config: WhyScaleConfig, workdir: Path) -> None:
  """Measures random queries and keys; trains a lookup at several widths."""
  random = {
    name: [
      [
        measure(
          # Other draws for each seed and width: 10,007 exceeds the widths.
          jax.random.key(seed * 10_007 + width),
          scores,
          width=width,
          keys=config.keys,
          queries=config.queries,
        )
        for width in config.widths
      ]
      for seed in range(config.seeds)
    ]
    for name, scores in SCORINGS.items()
  }

  trained = {
    name: {
      width: [
        fitted(config, name, width, seed, workdir)
        for seed in range(config.seeds)
      ]
      for width in config.lookup.widths
    }
    for name in SCORINGS
  }

  print(report.random_table(config, random))
  print(report.trained_table(config, trained))
  write_results(workdir, report.summary(config, random, trained))

  report.draw(config, workdir, random, trained, math.log(config.keys))


def fitted(
  config: WhyScaleConfig, name: str, width: int, seed: int, workdir: Path
) -> list[dict]:
  """Trains a lookup, or finds it trained; returns its evaluations."""
  return fit(
    lookup.make(config.lookup, width, SCORINGS[name], seed),
    lookup.loss,
    lookup.Batches(config.lookup, seed),
    evaluate=make_evaluate(lookup.loss).on(
      # Seeds that no training run has.
      [lookup.Batches(config.lookup, 10_000 + seed)(n) for n in range(16)]
    ),
    **trial_arguments(
      config,
      experiment="why_scale",
      variant=f"{name}/width{width}",
      seed=seed,
      workdir=workdir,
    ),
  ).records


if __name__ == "__main__":
  run(main, PRESETS, experiment="why_scale")
