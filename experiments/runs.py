"""One of the runs of an experiment: a variant, trained with one seed."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from attnjax import config as configs
from attnjax import training

__all__ = ["fit_run"]


def fit_run(
  config: Any,
  model: Any,
  loss: Callable,
  batches: Callable[[int], Any],
  heldout: Sequence,
  *,
  experiment: str,
  variant: str,
  seed: int,
  workdir: Path,
  data: Mapping[str, Any] | None = None,
) -> training.Fitted:
  """Trains a variant in a directory of its own, `workdir/<variant>/seed<n>`.

  Args:
    config: of the experiment; has `optimizer` and `train`.
    model: parameters to start from.
    loss: as for `training.make_step`.
    batches: of a step.
    heldout: batches to evaluate on.
    experiment: its name.
    variant: what is trained; words may have spaces between them.
    seed: of the keys of the steps.
    workdir: of the experiment.
    data: what else decides the run, such as a digest of its text.
  """
  run = f"{variant.replace(', ', '_').replace(' ', '_')}/seed{seed}"
  return training.fit(
    model,
    loss,
    batches,
    workdir=workdir / run,
    experiment=experiment,
    identity=configs.to_dict(config) | {"run": run} | dict(data or {}),
    optimizer=config.optimizer,
    train=configs.replace_leaves(config.train, {"seed": seed}),
    evaluate=training.make_evaluate(loss).on(heldout),
  )
