"""Attention between patches: beside a convolution, a line, and blinded."""

from pathlib import Path

from attnjax.runs import run, write_results
from experiments.vision import report, rollout, task
from experiments.vision.config import PRESETS, VisionConfig


def main(config: VisionConfig, workdir: Path) -> None:
  """Trains every variant with every seed, and shows where the ViT looks."""
  # First of all: what cannot be had should say so before any work.
  sides = task.load(config)
  found = {
    variant: [
      task.fit(config, sides, variant, seed, workdir)
      for seed in range(config.seeds)
    ]
    for variant in config.variants
  }
  seeing = found["attention"]
  exchanged = [
    rollout.exchanged_accuracy(config, sides, run.params) for run in seeing
  ]
  print(report.accuracy_table(config, found))
  print(report.exchanged_table(config, seeing, exchanged))
  write_results(workdir, {"runs": report.plain(found), "exchanged": exchanged})
  print(report.draw_curves(workdir / "curves.png", found))

  print(rollout.draw(workdir / "rollout.png", sides, seeing[0].params))


if __name__ == "__main__":
  run(main, PRESETS, experiment="vision")
