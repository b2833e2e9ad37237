"""What the law would spend on a pod, and the step compiled for it."""

import itertools
from typing import NamedTuple

from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from attnjax import training
from attnjax.models import DecoderConfig, DecoderLM
from attnjax.plan import Job, Plan, make_plan, mesh_of, topology
from attnjax.training.mesh import AXES
from experiments.next_token import abstract_batch, next_token_loss
from experiments.planned_step import planned_step
from experiments.scaling import sweep
from experiments.scaling.config import ScalingConfig
from experiments.scaling.law import Law

__all__ = ["Spending", "job", "mesh_for", "plan", "spending"]


class Spending(NamedTuple):
  """A model, and how long to train it, for a compute that is given."""

  model: DecoderConfig
  parameters: int  # N
  tokens: int  # D, whole batches
  steps: int
  flops: float  # of all steps


def mesh_for(config: ScalingConfig) -> Mesh | None:
  """A mesh of the pod, all of it sharing out rows; None if none is asked for.

  Asked before anything is trained: a machine that cannot be compiled for is
  refused before the hours that lead up to it.

  Raises:
    ValueError: there is no such machine, or it does not divide the batch.
    ImportError: its compiler is not installed; says how to install it.
  """
  if config.pod.topology is None:
    return None
  machine = topology(config.pod.topology)
  parts = machine.devices * config.pod.microbatches
  if config.pod.batch_size % parts:
    raise ValueError(
      f"pod.batch_size: expected a multiple of {parts}, which are"
      f" {machine.devices} devices times pod.microbatches, got"
      f" {config.pod.batch_size}"
    )
  return mesh_of(machine, dict.fromkeys(AXES, 1) | {"data": machine.devices})


def spending(config: ScalingConfig, law: Law) -> Spending:
  """The size that the law wants for a compute, and the tokens that it leaves.

  The law's compute is 6 N D; of the model that comes nearest to its N the
  tokens are counted by what it really computes.

  Args:
    config: has the compute.
    law: fitted to runs.

  >>> found = spending(ScalingConfig(), Law(1.0, 10.0, 0.3, 80.0, 0.35))
  >>> found.model.width % 64, found.flops <= 1e18
  (0, True)
  """
  model, count = _recommended(config, law), sweep.parameters
  a_step = config.pod.batch_size * config.data.length
  a_token = sweep.flops_per_token(config, model.width)
  steps = max(int(config.pod.flops / a_token / a_step), 1)
  tokens = steps * a_step
  return Spending(model, count(model)["law"], tokens, steps, tokens * a_token)


def _recommended(config: ScalingConfig, law: Law) -> DecoderConfig:
  """The model that comes nearest to what the law wants, or of a given width."""
  pod = config.pod
  if pod.width is not None:
    return config.model(pod.width, pod.head_width)
  wanted = law.best_parameters(pod.flops)
  count = lambda model: sweep.parameters(model)["law"]
  below = config.model(pod.head_width, pod.head_width)
  for number in itertools.count(2):
    above = config.model(number * pod.head_width, pod.head_width)
    if count(above) >= wanted:
      break
    below = above
  # Nearest in ratio: a model of twice the size is as far as one of half.
  return below if wanted**2 < count(below) * count(above) else above


def plan(config: ScalingConfig, mesh: Mesh, spent: Spending) -> Plan:
  """The step of a model, compiled for the pod and not run.

  Args:
    config: has the topology.
    mesh: from `mesh_for`.
    spent: says which model.
  """
  machine = topology(config.pod.topology or "")
  return make_plan(job(config, mesh, spent), machine, mesh)


def job(config: ScalingConfig, mesh: Mesh, spent: Spending) -> Job:
  """The training step of the sweep, of another size and in bfloat16.

  Args:
    config: of the sweep.
    mesh: with the axes of `MeshConfig`.
    spent: the model, and the length of its schedule.
  """
  pod, length = config.pod, config.data.length
  train = training.TrainConfig(
    steps=spent.steps,
    microbatches=pod.microbatches,
    compute_dtype="bfloat16",
    mesh=training.MeshConfig(data=mesh.shape["data"]),
  )
  planned = planned_step(
    lambda: DecoderLM(spent.model, sweep.BYTES, rngs=nnx.Rngs(0)),
    next_token_loss,
    optimizer=config.optimizer,
    train=train,
    mesh=mesh,
  )
  state = planned.state
  batch = abstract_batch(pod.batch_size, length, mesh)

  return Job(
    name=f"scaling, width {spent.model.width}",
    step=planned.step,
    arguments=(state, batch),
    parts={
      "parameters": state.params,
      "optimizer": (state.step, state.opt_state),
      "batch": batch,
    },
    tokens=pod.batch_size * length,
    model_flops=spent.flops / spent.steps,
    donated=(0,),
    out_shardings=(planned.places, NamedSharding(mesh, PartitionSpec())),
    gradients=("parameters",),
  )
