"""Entry point: trains layers of one and of two heads, then ablates heads."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from attnjax import runs
from attnjax.runs import run, trial_arguments, write_results
from attnjax.training import make_evaluate
from experiments.heads import report, task
from experiments.heads.config import PRESETS, HeadsConfig


def main(config: HeadsConfig, workdir: Path) -> None:
  """Trains every layer and seed; measures two heads by ablation.

  Seed 99,999 is of no training run: its scenes are held out.
  """
  held = [
    task.Batches(config, 99_999)(n)
    for n in range(config.heldout // config.batch_size)
  ]

  results: dict[str, list] = {}
  heads: list[list[dict]] = []
  models: dict[str, task.Answerer] = {}
  for name in task.SHAPES:
    for seed in range(config.seeds):
      fitted = fit(config, name, seed, held, workdir)
      results.setdefault(name, []).append(fitted.records[-1])
      models.setdefault(name, fitted.params)
      if name == "two heads":
        heads.append(report.heads_of(fitted.params, held))

  print(report.accuracy_table(results))
  print(report.head_table(heads))
  write_results(workdir, {"accuracy": results, "heads": heads})
  print(report.draw(config, workdir, models))


def fit(
  config: HeadsConfig,
  name: str,
  seed: int,
  held: Sequence[Mapping],
  workdir: Path,
) -> runs.Fitted:
  """Trains one layer of `task.SHAPES`, or finds it trained."""
  return runs.fit(
    task.make(config, task.SHAPES[name], seed),
    task.loss,
    task.Batches(config, seed),
    evaluate=make_evaluate(task.loss).on(held),
    **trial_arguments(
      config,
      experiment="heads",
      variant=name,
      seed=seed,
      workdir=workdir,
    ),
  )


if __name__ == "__main__":
  run(main, PRESETS, experiment="heads")
