"""Plan of a training or decoding step: compiled ahead of time and not run."""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence

import jax
from jax.sharding import Mesh
from jax.stages import Compiled

from attnjax.plan.collectives import Collective, collectives
from attnjax.plan.costs import Costs, costs
from attnjax.plan.device_memory import (
  Memory,
  device_bytes,
  memory_of_arguments,
  memory_of_compiled,
  memory_of_refused,
)
from attnjax.plan.hlo import read_program
from attnjax.plan.roofline import Roofline, roofline
from attnjax.plan.topology import Topology
from attnjax.typing import PyTree

__all__ = ["Job", "Plan", "make_plan"]


@dataclasses.dataclass(frozen=True, eq=False)
class Job:
  """A step to plan: the function that would run, and abstract arguments.

  Args:
    name: for people.
    step: arrays -> arrays; a training step, or one of decoding.
    arguments: of the step: trees of `jax.ShapeDtypeStruct` with shardings.
    parts: name -> trees that the arguments are made of: "parameters" and such.
    tokens: that a step handles, on all devices.
    model_flops: of a step, by formula, on all devices.
    donated: indices of the arguments whose memory the results reuse.
    out_shardings: of the results, as for `jax.jit`; None leaves them to the
      compiler.
    gradients: names of the parts that the step makes gradients of; empty for
      decoding.
    kept: bytes on a device of the residuals that the forward pass keeps for
      the backward pass; None is not known.
    turns: trip count of loops that find it out when they run; None is not
      known.
    taken: share of the data-dependent branches that are taken; 1 counts all.

  >>> import jax
  >>> x = jax.ShapeDtypeStruct((3, 5), "float32")
  >>> Job("double", lambda x: 2 * x, (x,), {"x": x}, 3, 0.0).tokens
  3
  """

  name: str
  step: Callable[..., PyTree]
  arguments: tuple[PyTree, ...]
  parts: Mapping[str, PyTree]
  tokens: int
  model_flops: float
  donated: tuple[int, ...] = ()
  out_shardings: PyTree = None
  gradients: tuple[str, ...] = ()
  kept: int | None = None
  turns: int | None = None
  taken: float = 1.0


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
  """Memory, arithmetic, traffic and time of a job on each device.

  Args:
    job: its name.
    machine: that it was compiled for.
    axes: of the mesh, name -> devices.
    tokens: of a step, on all devices.
    memory: of the device that holds most.
    costs: of one device; None where the compiler refused the program.
    exchanges: collectives of a step.
    times: None where the rates are not known, or there are no costs.
    model_flops: of a step, on all devices.
    compile_seconds: that compiling took here.
    unknown_loops: loops that count as one trip for want of a trip count.
    taken: share of the data-dependent branches that is counted.

  >>> import jax
  >>> from attnjax.plan.topology import mesh_of, topology
  >>> machine = topology("cpu:1")
  >>> x = jax.ShapeDtypeStruct((3, 5), "float32")
  >>> job = Job("double", lambda x: 2 * x, (x,), {"x": x}, 3, 0.0)
  >>> planned = make_plan(job, machine, mesh_of(machine, {"data": 1}))
  >>> planned.memory.fits, planned.device_hours(1e9) is None  # of a CPU
  (True, True)
  """

  job: str
  machine: Topology
  axes: Mapping[str, int]
  tokens: int
  memory: Memory
  costs: Costs | None
  exchanges: Sequence[Collective]
  times: Roofline | None
  model_flops: float
  compile_seconds: float
  unknown_loops: int
  taken: float = 1.0

  def _repr_html_(self) -> str:
    """The figure of the plan as SVG, for a notebook; needs matplotlib."""
    from attnjax.plan.figure import plan_svg  # which imports this module

    return plan_svg(self)

  @property
  def tokens_per_second(self) -> float | None:
    """Of all devices, at most: in the least seconds of the roofline."""
    if self.times is None:
      return None
    return self.tokens / self.times.seconds_overlapped

  def device_hours(self, tokens: float) -> float | None:
    """Device hours to handle so many tokens, at least."""
    rate = self.tokens_per_second
    return None if rate is None else tokens / rate * self.machine.devices / 3600


def make_plan(job: Job, machine: Topology, mesh: Mesh) -> Plan:
  """Compiles a job for a machine that need not be here, and plans it.

  Args:
    job: the step and the shapes of its arguments, with shardings on the mesh.
    machine: to compile for, from `topology`.
    mesh: over its devices, from `mesh_of`.

  Returns:
    The plan. Of a program that the compiler refuses as too large it has the
    memory alone.

  Raises:
    ImportError: the compiler for the machine is not installed.

  >>> import jax
  >>> from jax.sharding import NamedSharding, PartitionSpec
  >>> from attnjax.plan.topology import mesh_of, topology
  >>> machine = topology("cpu:4")
  >>> mesh = mesh_of(machine, {"data": 4})
  >>> x = jax.ShapeDtypeStruct(
  ...   (8, 5), "float32", sharding=NamedSharding(mesh, PartitionSpec("data")))
  >>> job = Job("square", lambda x: x @ x.T, (x,), {"x": x}, 8, 640.0)
  >>> planned = make_plan(job, machine, mesh)
  >>> planned.memory.parts, planned.costs.flops
  ({'x': 40}, 160.0)
  """
  parts = {name: device_bytes(tree) for name, tree in job.parts.items()}
  capacity = machine.chip.capacity
  if machine.chip.platform == "cpu":
    # All devices of a CPU share its memory.
    capacity //= machine.devices
  gradients = sum(parts[name] for name in job.gradients)
  memory = memory_of_arguments(parts, gradients, job.kept, capacity)

  started = time.perf_counter()
  try:
    compiled = _compile(job, mesh)
  except jax.errors.JaxRuntimeError as error:
    compiled = None
    refused = memory_of_refused(memory, error)
    if refused is None:
      raise
    memory = refused
  seconds = time.perf_counter() - started

  program = spent = times = None
  exchanges: list[Collective] = []
  if compiled is not None:
    memory = memory_of_compiled(memory, compiled.memory_analysis())
  # A backend may keep its text to itself: then the memory is all there is.
  if compiled is not None and (text := compiled.as_text()):
    program = read_program(text, turns=job.turns, taken=job.taken)
    spent = costs(program)
    exchanges = collectives(program, mesh)
    times = roofline(machine, mesh, spent, exchanges, job.model_flops)

  return Plan(
    job=job.name,
    machine=machine,
    axes=dict(mesh.shape),
    tokens=job.tokens,
    memory=memory,
    costs=spent,
    exchanges=exchanges,
    times=times,
    model_flops=job.model_flops,
    compile_seconds=seconds,
    unknown_loops=program.unknown_loops if program else 0,
    taken=job.taken,
  )


def _compile(job: Job, mesh: Mesh) -> Compiled:
  """Compiles the step of a job for the devices of a mesh."""
  # To `jit`, `out_shardings=None` would mean another thing: replicated.
  options = {}
  if job.out_shardings is not None:
    options["out_shardings"] = job.out_shardings
  jitted = jax.jit(job.step, donate_argnums=job.donated, **options)

  # Sharding constraints inside the step name axes of the mesh.
  with jax.set_mesh(mesh):
    return jitted.trace(*job.arguments).lower().compile()
