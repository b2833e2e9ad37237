"""Checks that a mesh divides the batch and the model of an experiment."""

from collections.abc import Mapping
from typing import Any

import jax
from jax.sharding import AbstractMesh

from attnjax import training
from attnjax.models import partition_rules
from launch.plan_subjects import EXPERIMENTS

__all__ = ["check_job_shares"]

_HOLDERS = ("data", "task")  # parts of a config that say what a batch is


def check_job_shares(
  experiment: str, config: Any, sizes: Mapping[str, int]
) -> None:
  """Refuses a mesh that divides the batch or the parameters unevenly.

  Args:
    experiment: its name.
    config: of it; has `train`.
    sizes: of the axes of the mesh, by name, none of them 0.

  Raises:
    ValueError: an axis divides the rows, the tokens, the microbatches or the
      parameters of the model unevenly.

  >>> from launch.job import Job, config_of
  >>> sizes = {"data": 3, "fsdp": 1, "tensor": 1, "sequence": 1}
  >>> check_job_shares("heads", config_of(Job("heads")), sizes)
  Traceback (most recent call last):
  ValueError: a batch: mesh.data=3 x mesh.fsdp=1 does not divide its 128 rows;
  choose a divisor for the mesh, or a batch size that 3 divides
  """
  for holder in (config, *(getattr(config, name, None) for name in _HOLDERS)):
    rows = getattr(holder, "batch_size", None)
    if rows is not None:
      training.check_shares(
        sizes,
        rows,
        length=getattr(holder, "length", None),
        microbatches=getattr(config.train, "microbatches", 1),
      )

  # Shapes alone: no parameter is made. Several variants have several models,
  # which no one mesh check serves.
  if experiment in EXPERIMENTS and len(getattr(config, "variants", "1")) == 1:
    model = jax.eval_shape(EXPERIMENTS[experiment](config).make_model)
    mesh = AbstractMesh(tuple(sizes.values()), tuple(sizes))
    training.shardings(model, mesh, partition_rules(model))
