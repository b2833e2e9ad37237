"""Entry point: a ViT, ablations of its attention, and two baselines."""

from pathlib import Path

from attnjax.runs import run, write_results
from attnjax.viz import Page
from experiments.vision import report, rollout, task
from experiments.vision.config import PRESETS, VisionConfig


def main(config: VisionConfig, workdir: Path) -> None:
  """Trains every variant and seed; examines attention rollout of the ViT."""
  # Images first: a failed download costs no training.
  splits = task.load(config)
  found = {
    variant: [
      task.fit(config, splits, variant, seed, workdir)
      for seed in range(config.seeds)
    ]
    for variant in config.variants
  }

  vits = found["attention"]
  exchanged = [
    rollout.exchanged_accuracy(config, splits, run.params) for run in vits
  ]
  print(report.accuracy_table(config, found))
  print(report.exchanged_table(config, vits, exchanged))
  write_results(workdir, {"runs": report.plain(found), "exchanged": exchanged})
  print(report.draw_curves(workdir / "curves.png", found))

  print(rollout.draw(workdir / "rollout.png", splits, vits[0].params))


def view(config: VisionConfig, workdir: Path) -> Page:
  """Trains the ViT, or finds it trained; makes a page of it on one image."""
  splits = task.load(config)
  fitted = task.fit(config, splits, "attention", 0, workdir)
  return report.attention_page(fitted.params, splits.held.arrays["image"][0])


if __name__ == "__main__":
  run(main, PRESETS, experiment="vision", view=view)
