"""One of the runs of an experiment: a variant, trained with one seed."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from attnjax import config as configs
from attnjax import training
from attnjax.models import partition_rules

__all__ = ["fit", "fit_run", "make_model"]

# Which runs there are, and what is asked of them afterwards: no run trains
# another way for it, so that one may be added to others that are done.
_NOT_OF_A_RUN = ("variants", "seeds", "test")


def make_model(make: Callable[[], Any], train: training.TrainConfig) -> Any:
  """A new model, each part of it made on the devices that have it.

  Args:
    make: makes the model; compiled.
    train: has the mesh.
  """
  mesh = training.make_mesh(train.mesh)
  rules = None if mesh is None else partition_rules(jax.eval_shape(make))
  return training.initialise(make, mesh=mesh, rules=rules)


def fit(model: Any, loss: Callable, *arguments: Any, **keywords: Any) -> Any:
  """`training.fit` of a model whose table says how a mesh shares it out.

  Args:
    model: parameters to start from.
    loss: as for `training.make_step`.
    *arguments: as for `training.fit`.
    **keywords: as for `training.fit`.
  """
  rules = partition_rules(model)
  return training.fit(model, loss, *arguments, rules=rules, **keywords)


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
  decisive = {
    name: value
    for name, value in configs.to_dict(config).items()
    if name not in _NOT_OF_A_RUN
  }
  return fit(
    model,
    loss,
    batches,
    workdir=workdir / run,
    experiment=experiment,
    identity=decisive | {"run": run} | dict(data or {}),
    optimizer=config.optimizer,
    train=configs.replace_leaves(config.train, {"seed": seed}),
    evaluate=training.make_evaluate(loss).on(heldout),
  )
