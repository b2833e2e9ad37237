"""Abstract training steps on a mesh, for ahead-of-time compilation."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh

from attnjax import training
from attnjax.models import MATRICES, partition_rules
from attnjax.runs.attention import loss_on
from attnjax.runs.config import TrainConfig

__all__ = ["PlannedStep", "placed", "planned_step"]


class PlannedStep(NamedTuple):
  """A training step with the shapes and shardings of its state.

  Args:
    step: from `training.make_step`.
    shapes: of the state.
    places: their shardings.

  >>> import jax
  >>> from jax.sharding import SingleDeviceSharding
  >>> place = SingleDeviceSharding(jax.devices()[0])
  >>> shape = jax.ShapeDtypeStruct((2, 3), "float32")
  >>> step = PlannedStep(lambda state, batch: state, shape, place)
  >>> step.state.sharding == place
  True
  """

  step: Callable
  shapes: Any
  places: Any

  @property
  def state(self) -> Any:
    """Shapes, each with its sharding."""
    return placed(self.shapes, self.places)


def planned_step(
  make_model: Callable[[], Any],
  loss: Callable,
  *,
  optimizer: training.OptimizerConfig,
  train: TrainConfig,
  mesh: Mesh,
) -> PlannedStep:
  """The training step of `fit` with abstract state; nothing is computed.

  Args:
    make_model: nothing -> a new model; called for its shapes alone.
    loss: as for `training.make_step`.
    optimizer: as for `fit`.
    train: as for `fit`; its mesh has the attention and layout of tokens.
    mesh: with the axes of `training.AXES`.

  Raises:
    ValueError: an axis of the mesh does not divide the model.

  >>> import jax.numpy as jnp
  >>> from attnjax.runs.config import TrainConfig
  >>> from attnjax.runs.mesh import MeshConfig
  >>> from attnjax.training import OptimizerConfig
  >>> planned = planned_step(
  ...   lambda: {"kernel": jnp.ones((8, 3))},
  ...   lambda params, batch, key: (params["kernel"].sum(), 1),
  ...   optimizer=OptimizerConfig(), train=TrainConfig(),
  ...   mesh=MeshConfig(fsdp=8).make())
  >>> kernel = planned.state.params["kernel"]
  >>> kernel.shape, kernel.sharding.shard_shape(kernel.shape)
  ((8, 3), (1, 3))
  """
  transform = training.make_optimizer(optimizer, train.steps, MATRICES)
  # Abstract: a model of any size is planned without memory for it.
  shapes = jax.eval_shape(lambda: training.init_state(make_model(), transform))
  # As for `fit`, a mesh of one device is none.
  several = mesh if mesh.size > 1 else None
  step = training.make_step(
    loss_on(several, train.mesh, shapes.params, loss),
    transform,
    microbatches=train.microbatches,
    compute_dtype=train.compute_dtype,
    seed=train.seed,
  )
  places = training.shardings(shapes, mesh, partition_rules(shapes.params))

  return PlannedStep(step, shapes, places)


def placed(shapes: Any, places: Any) -> Any:
  """Attaches shardings to shapes.

  Args:
    shapes: of arrays.
    places: a sharding for each.

  >>> import jax
  >>> from jax.sharding import SingleDeviceSharding
  >>> place = SingleDeviceSharding(jax.devices()[0])
  >>> placed(jax.ShapeDtypeStruct((2, 3), "float32"), place).sharding == place
  True
  """
  return jax.tree.map(
    lambda x, place: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place),
    shapes,
    places,
  )
