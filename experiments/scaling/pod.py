"""Forecast for a pod: the size that the law recommends, compiled for it."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from attnjax.models import DecoderConfig, DecoderLM
from attnjax.plan import Job, Plan, caveats, make_plan, mesh_of, topology
from attnjax.runs import (
  MeshConfig,
  TrainConfig,
  abstract_batch,
  next_token_loss,
  planned_step,
  table,
)
from attnjax.training import AXES
from experiments.scaling import sweep
from experiments.scaling.config import ScalingConfig
from experiments.scaling.law import Fit, Law

__all__ = [
  "HOW_TO_ASK",
  "NO_LAW",
  "Spending",
  "forecast_text",
  "job",
  "mesh_for",
  "plan",
  "spending",
]


HOW_TO_ASK = (
  "\nno forecast for a pod: none was asked for; pip install 'attnjax[tpu]', set"
  " JAX_PLATFORMS=cpu and add --config.pod.topology=v5e:4x4 (runs that are done"
  " are not trained again)"
)
NO_LAW = "\nno forecast for a pod: there is no law to say what to train there"


class Spending(NamedTuple):
  """A model and the length of its training, for a given compute."""

  model: DecoderConfig
  parameters: int  # N
  tokens: int  # D, whole batches
  steps: int
  flops: float  # of all steps


def mesh_for(config: ScalingConfig) -> Mesh | None:
  """A mesh of the pod, all of it on the axis `data`; None without a topology.

  Made before anything is trained: a machine that cannot be compiled for is
  refused before hours of training.

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
  """The size that the law recommends for a compute, and its tokens.

  The law's compute is 6 N D; the tokens of the model whose N is nearest are
  those that its real FLOPs a token leave.

  Args:
    config: whose `pod.flops` is the compute.
    law: fitted to runs.

  >>> from experiments.scaling.config import ScalingConfig
  >>> from experiments.scaling.law import Law
  >>> found = spending(ScalingConfig(), Law(1.0, 10.0, 0.3, 80.0, 0.35))
  >>> found.model.width % 64, found.flops <= 1e18
  (0, True)
  """
  model, count = _recommended(config, law), sweep.parameters

  a_step = config.pod.batch_size * config.data.length
  a_token = sweep.flops_per_token(config, model.width)
  # Whole steps, so that the compute is not exceeded.
  steps = max(int(config.pod.flops / a_token / a_step), 1)
  tokens = steps * a_step
  return Spending(model, count(model)["law"], tokens, steps, tokens * a_token)


def _recommended(config: ScalingConfig, law: Law) -> DecoderConfig:
  """The model nearest to the N that the law recommends, or of a given width."""
  pod = config.pod
  if pod.width is not None:
    return config.model(pod.width, pod.head_width)

  wanted = law.best_parameters(pod.flops)
  count = lambda model: sweep.parameters(model)["law"]

  # The smallest model has one head.
  below = config.model(pod.head_width, pod.head_width)
  for number in itertools.count(2):
    above = config.model(number * pod.head_width, pod.head_width)
    if count(above) >= wanted:
      break
    below = above

  # Nearest in ratio: a model of twice the size is as far as one of half.
  return below if wanted**2 < count(below) * count(above) else above


def plan(config: ScalingConfig, mesh: Mesh, spent: Spending) -> Plan:
  """Compiles the training step of a model for the pod, and plans it.

  Args:
    config: whose `pod.topology` is the machine.
    mesh: from `mesh_for`.
    spent: the model.
  """
  machine = topology(config.pod.topology or "")
  return make_plan(job(config, mesh, spent), machine, mesh)


def job(config: ScalingConfig, mesh: Mesh, spent: Spending) -> Job:
  """The training step of the sweep as a job, of another size, in bfloat16.

  Args:
    config: of the sweep.
    mesh: with the axes of `MeshConfig`.
    spent: the model, and the length of its schedule.
  """
  pod, length = config.pod, config.data.length
  train = TrainConfig(
    steps=spent.steps,
    microbatches=pod.microbatches,
    compute_dtype="bfloat16",
    mesh=MeshConfig(data=mesh.shape["data"]),
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


def forecast_text(
  config: ScalingConfig,
  runs: Sequence[dict],
  fitted: Fit,
  spent: Spending,
  planned: Plan,
) -> str:
  """The forecast as text: loss by the law, time by the plan, and caveats.

  Args:
    config: of the sweep.
    runs: that the law was fitted to.
    fitted: the law.
    spent: the size that it recommends.
    planned: the step of that size on the pod.
  """
  title = f"\n{config.pod.flops:.3g} FLOPs on {planned.machine.name}\n\n"
  rows = _law_rows(config, runs, fitted, spent)
  rows += _plan_rows(planned, spent)

  known = [
    "The interval is of laws fitted to runs drawn again: it holds if the law"
    " does so far outside of what was measured, of which these runs say"
    " nothing.",
    f"The law is of this text, of rows of {config.data.length} bytes, and of"
    " bytes that are read once: so long a run wants a text as long.",
    *caveats(planned),
  ]
  listed = "\n".join(f"- {sentence}" for sentence in known)
  return f"{title}{table(['', ''], rows)}\n\nWhat this cannot know:\n\n{listed}"


def _law_rows(
  config: ScalingConfig, runs: Sequence[dict], fitted: Fit, spent: Spending
) -> list[list[str]]:
  """Rows on the law: its prediction, and how far it extrapolates."""
  n, d, model = float(spent.parameters), float(spent.tokens), spent.model
  low, high = fitted.interval(lambda law: law(n, d))
  few, many = fitted.interval(lambda law: law.best_parameters(config.pod.flops))
  most = {
    name: max(run[name] for run in runs)
    for name in ("parameters", "tokens", "flops")
  }

  # How many times more than the largest run of the sweep.
  beyond = f"{n / most['parameters']:,.0f}, {d / most['tokens']:,.0f},"
  beyond += f" {spent.flops / most['flops']:,.0f} times"

  return [
    [
      "best N, by the law",
      f"{fitted.law.best_parameters(config.pod.flops):.3g}",
    ],
    ["its interval", f"{few:.3g} to {many:.3g}"],
    [
      "the model",
      f"width {model.width}, depth {model.depth}, heads {model.heads}:"
      f" N = {spent.parameters:,}",
    ],
    ["tokens D", f"{spent.tokens:,} in {spent.steps:,} steps"],
    ["bits per byte, by the law", f"{fitted.law(n, d):.3f}"],
    ["its interval", f"{low:.3f} to {high:.3f}"],
    ["beyond what was measured, in N, D, C", beyond],
  ]


def _plan_rows(planned: Plan, spent: Spending) -> list[list[str]]:
  """Rows on the plan: memory, and time of a step and of all steps."""
  rows = [["memory of a device", planned.memory.verdict()]]
  times = planned.times
  if planned.costs is None:
    why = "the compiler refused the program; raise pod.microbatches"
    return [*rows, ["times", f"none: {why}"]]
  if times is None:
    return [*rows, ["times", "none: nobody publishes the rates"]]

  hours = lambda seconds: seconds * spent.steps * planned.machine.devices / 3600
  for words, seconds in (
    (f"at least ({times.bound})", times.seconds_overlapped),
    ("nothing overlapping", times.seconds_serial),
  ):
    rows += [
      [f"a step, {words}", f"{1e3 * seconds:,.1f} ms"],
      ["  tokens a second", f"{planned.tokens / seconds:,.0f}"],
      ["  model-FLOP utilisation", f"{100 * times.utilisation(seconds):.1f} %"],
      ["  device-hours of all steps", f"{hours(seconds):,.2f}"],
    ]

  return rows
