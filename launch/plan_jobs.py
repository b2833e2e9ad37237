"""Training and decoding steps of an experiment as `attnjax.plan.Job`s."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from attnjax import training
from attnjax.models import partition_rules
from attnjax.plan import Job, jaxpr_flops, residual_bytes
from attnjax.runs import placed, planned_step
from attnjax.training.losses import loss_sums
from attnjax.typing import PyTree
from launch.plan_subjects import Subject

__all__ = ["decoding_job", "training_job"]


def training_job(subject: Subject, mesh: Mesh) -> Job:
  """The training step that `runs.fit` runs, with abstract arguments.

  Args:
    subject: from `EXPERIMENTS`.
    mesh: with the axes of `MeshConfig`.

  Raises:
    ValueError: an axis of the mesh does not divide the model or the batch.
  """
  config = subject.config
  planned = planned_step(
    subject.make_model,
    subject.loss,
    optimizer=config.optimizer,
    train=config.train,
    mesh=mesh,
  )
  state, batch = planned.state, _batch(subject, mesh)
  rows, length = config.data.batch_size, config.data.length

  return Job(
    name=subject.name,
    step=planned.step,
    arguments=(state, batch),
    parts={
      "parameters": state.params,
      "optimizer": (state.step, state.opt_state),
      "batch": batch,
    },
    tokens=rows * length,
    model_flops=subject.model_flops(planned.shapes.params, rows),
    donated=(0,),
    out_shardings=(planned.places, NamedSharding(mesh, PartitionSpec())),
    gradients=("parameters",),
    kept=_residual_bytes(subject, planned.shapes.params, mesh),
    turns=_ring_trip_count(subject, mesh),
    # A tile is asked for twice: is it seen whole, is it seen in part?
    taken=1.0 if subject.seen is None else subject.seen / 2,
  )


def decoding_job(subject: Subject, mesh: Mesh) -> Job:
  """The step that decodes one token a row, with a full cache.

  Parameters and cache are in the dtype that training computes in.

  Raises:
    ValueError: an axis of the mesh does not divide the model or the batch.
  """
  config = subject.config
  dtype = jnp.dtype(config.train.compute_dtype)
  rows, length = config.data.batch_size, config.data.length
  model = jax.eval_shape(subject.make_model)
  rules = partition_rules(model)
  # As a served model: no float32 master copy of the parameters.
  cast = lambda x: jax.ShapeDtypeStruct(x.shape, dtype)
  shapes = jax.tree.map(cast, model)
  params = placed(shapes, training.shardings(model, mesh, rules))
  structure = None

  def leaves_of_cache(model: PyTree) -> list[Any]:
    # A cache checks that it is made of arrays, and shapes are none.
    nonlocal structure
    cache = model.init_cache((rows,), length, dtype)
    leaves, structure = jax.tree.flatten(cache)
    return leaves

  leaves = jax.eval_shape(leaves_of_cache, shapes)
  held = [_cache_leaf(leaf, mesh, rows) for leaf in leaves]
  place = NamedSharding(mesh, PartitionSpec(_row_axes(mesh, rows)))
  tokens = jax.ShapeDtypeStruct((rows, 1), jnp.int32, sharding=place)

  def step(params: PyTree, held: PyTree, tokens: PyTree) -> Any:
    logits, cache = params.decode(tokens, jax.tree.unflatten(structure, held))
    return logits, jax.tree.leaves(cache)

  return Job(
    name=f"{subject.name}, one token decoded",
    step=step,
    arguments=(params, held, tokens),
    parts={"parameters": params, "cache": held, "tokens": tokens},
    tokens=rows,
    model_flops=jaxpr_flops(step, params, held, tokens),
    donated=(1,),
  )


def _batch(subject: Subject, mesh: Mesh) -> dict[str, Any]:
  """Shapes of a batch: rows over data and fsdp, tokens over sequence."""
  data = subject.config.data
  training.check_shares(
    mesh.shape,
    data.batch_size,
    length=data.length,
    microbatches=subject.config.train.microbatches,
  )
  place = NamedSharding(mesh, PartitionSpec(("data", "fsdp"), "sequence"))
  shape = (data.batch_size, data.length)

  return {
    name: jax.ShapeDtypeStruct(shape, dtype, sharding=place)
    for name, dtype in subject.batch.items()
  }


def _residual_bytes(subject: Subject, params: PyTree, mesh: Mesh) -> int:
  """Bytes on a device of the activations that a microbatch keeps.

  As if tensor parallelism shared none of them out: it does some.
  """
  # Traced on one device, then divided by the axes that divide activations.
  data, train = subject.config.data, subject.config.train
  shape = (data.batch_size // train.microbatches, data.length)
  batch = {
    name: jax.ShapeDtypeStruct(shape, dtype)
    for name, dtype in subject.batch.items()
  }

  def total(params: PyTree, batch: PyTree) -> Any:
    key = jax.random.key(0)
    sums = loss_sums(subject.loss, params, batch, key, train.compute_dtype)
    return sums[0]

  shared = math.prod(mesh.shape[axis] for axis in ("data", "fsdp", "sequence"))
  return residual_bytes(total, params, batch) // min(shared, math.prod(shape))


def _ring_trip_count(subject: Subject, mesh: Mesh) -> int | None:
  """Trip count of the ring's loop over devices; None without such a loop."""
  if subject.seen is None or subject.config.train.mesh.attention != "ring":
    return None
  return mesh.shape["sequence"] - 1


def _row_axes(mesh: Mesh, rows: int) -> tuple[str, ...]:
  """The mesh axes of data that divide the number of rows."""
  axes: tuple[str, ...] = ("data", "fsdp")
  while rows % math.prod(mesh.shape[axis] for axis in axes):
    # Decoding may have fewer rows than devices: the rows are replicated then.
    axes = axes[:-1]
  return axes


def _cache_leaf(x: Any, mesh: Mesh, rows: int) -> Any:
  """One array of a cache, ``L B ...``: rows shared out, heads over tensor."""
  spec: list[Any] = [None] * x.ndim
  if x.ndim > 1 and x.shape[1] == rows:
    spec[1] = _row_axes(mesh, rows)
  # Five axes are keys and values, L B C K D: nothing else has heads.
  if x.ndim == 5 and x.shape[3] % mesh.shape["tensor"] == 0:
    spec[3] = "tensor"
  place = NamedSharding(mesh, PartitionSpec(*spec))
  return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place)
