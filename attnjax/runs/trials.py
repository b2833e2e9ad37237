"""Trials of an experiment: one trained and measured run a variant and seed."""

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from attnjax.config import decisive
from attnjax.moved import forward_names
from attnjax.runs.fitting import Fitted
from attnjax.runs.results import measure_once

__all__ = ["by_seed", "run_folder", "train_and_measure", "trial_arguments"]

# Settings that say which runs there are and how they are tested, and change no
# run: a seed or a variant may be added to runs that are done.
_NOT_OF_A_RUN = ("variants", "seeds", "test")


def run_folder(workdir: Path, variant: str, seed: int) -> Path:
  """Directory of one run of an experiment.

  >>> from pathlib import Path
  >>> run_folder(Path("runs"), "window + persistent", 1).as_posix()
  'runs/window_+_persistent/seed1'
  """
  return workdir / variant.replace(", ", "_").replace(" ", "_") / f"seed{seed}"


def trial_arguments(
  config: Any,
  *,
  experiment: str,
  variant: str,
  seed: int,
  workdir: Path,
  data: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
  """Keyword arguments of `fit` for one variant and seed of an experiment.

  Args:
    config: of the experiment; has `optimizer` and `train`.
    experiment: its name.
    variant: name of what is trained; may contain spaces.
    seed: of the keys of the steps, counted from `train.seed`.
    workdir: of the experiment; the run has `workdir/<variant>/seed<n>`.
    data: what else decides the run, such as a digest of its text, or the model
      that a variant makes of the config.

  Returns:
    `workdir`, `experiment`, `identity`, `optimizer` and `train`.

  >>> import dataclasses
  >>> from pathlib import Path
  >>> from attnjax.runs.config import FitConfig, TrainConfig
  >>> from attnjax.training import OptimizerConfig
  >>> @dataclasses.dataclass(frozen=True)
  ... class Experiment(FitConfig):
  ...   optimizer: OptimizerConfig = OptimizerConfig()
  ...   train: TrainConfig = TrainConfig(seed=5)
  >>> found = trial_arguments(
  ...   Experiment(), experiment="copy", variant="ours", seed=2,
  ...   workdir=Path("runs"))
  >>> found["workdir"].as_posix(), found["train"].seed
  ('runs/ours/seed2', 7)
  """
  folder = run_folder(workdir, variant, seed)
  identity = decisive(config)
  for name in _NOT_OF_A_RUN:
    identity.pop(name, None)

  # Relative, so that the directory of an experiment can be moved.
  identity |= {"run": folder.relative_to(workdir).as_posix()}
  return {
    "workdir": folder,
    "experiment": experiment,
    "identity": identity | dict(data or {}),
    "optimizer": config.optimizer,
    "train": dataclasses.replace(config.train, seed=config.train.seed + seed),
  }


def by_seed(
  trial: Callable[[str, int], dict[str, Any]],
  *,
  variants: Sequence[str],
  seeds: int,
  line: Callable[[str, int, dict[str, Any]], str],
) -> Iterator[dict[str, list[dict]]]:
  """Runs the trials seed by seed; yields the measures of all variants so far.

  Seeds are the outer loop, so that an interrupted experiment has about as many
  runs of every variant. A run that diverges is printed and left out.

  Args:
    trial: takes a variant and a seed, and returns the measures.
    variants: their names.
    seeds: how many.
    line: (variant, seed, measures) -> the line printed of a trial.

  Yields:
    variant -> its measures, one a seed; at least one list is not empty.

  Raises:
    FloatingPointError: all runs diverged.

  >>> half = lambda variant, seed: {"accuracy": seed / 2}
  >>> line = lambda variant, seed, found: f"{variant} {seed}: {found}"
  >>> for found in by_seed(half, variants=["ours"], seeds=2, line=line):
  ...   print(len(found["ours"]))
  ours 0: {'accuracy': 0.0}
  1
  ours 1: {'accuracy': 0.5}
  2
  """
  results: dict[str, list[dict]] = {name: [] for name in variants}
  for seed in range(seeds):
    for variant in variants:
      try:
        found = trial(variant, seed)
      # What `fit` raises for a loss that is not finite. Any other error is one
      # of the program, and ends the experiment.
      except FloatingPointError as error:
        print(f"{variant}, seed {seed} diverged: {error}", flush=True)
        continue
      results[variant].append(found)
      print(line(variant, seed, found), flush=True)
    if any(results.values()):
      yield results

  if not any(results.values()):
    raise FloatingPointError(
      "every run diverged, and nothing is left to tell of; lower"
      " optimizer.peak_learning_rate"
    )


def train_and_measure(
  fit: Callable[[], Fitted],
  measure: Callable[[Any], dict[str, Any]],
  *,
  folder: Path,
  test: Mapping[str, Any],
) -> dict[str, Any]:
  """Trains and measures a model; reuses the measures of an earlier call.

  Args:
    fit: trains in `folder`, or resumes there.
    measure: of the trained model; of what JSON can hold.
    folder: of the run.
    test: settings of the measurement, as for `measure_once`.

  Returns:
    The measures, the curve as `records`, and the `seconds` of training.

  >>> from pathlib import Path
  >>> import tempfile
  >>> from attnjax.runs.fitting import Fitted
  >>> found = train_and_measure(
  ...   lambda: Fitted(params=3.0, records=[{"step": 1, "loss": 0.5}]),
  ...   lambda params: {"mean": params},
  ...   folder=Path(tempfile.mkdtemp()), test={"rows": 2})
  >>> found["mean"], found["records"]
  (3.0, [{'step': 1, 'loss': 0.5}])
  """
  began = time.monotonic()
  fitted = fit()
  # Near 0 where the run was found finished.
  seconds = time.monotonic() - began

  return measure_once(
    folder / "measures.json",
    test,
    lambda: {
      "records": fitted.records,
      "seconds": seconds,
      **measure(fitted.params),
    },
  )


__getattr__ = forward_names(__name__)
