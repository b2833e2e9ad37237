"""From a step and its shapes to what it needs and takes: compiled, not run."""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from jax.sharding import Mesh

from attnjax.plan.collectives import Collective, collectives
from attnjax.plan.costs import Costs, costs
from attnjax.plan.hlo import read_program
from attnjax.plan.memory import Memory, device_bytes, measured, refused
from attnjax.plan.roofline import Roofline, roofline
from attnjax.plan.topology import Topology
from attnjax.typing import PyTree

__all__ = ["Job", "Plan", "make_plan"]


@dataclasses.dataclass(frozen=True, eq=False)
class Job:
  """A step to plan, given as a value: the function that would run.

  Args:
    name: what it is, for people.
    step: arrays -> arrays; a training step, or one of decoding.
    arguments: of the step: trees of `jax.ShapeDtypeStruct` with shardings.
    parts: name -> trees that the arguments are made of: "parameters" and such.
    tokens: that a step handles, on all devices.
    model_flops: of a step, by formula, on all devices.
    donated: numbers of the arguments whose place the results take.
    out_shardings: of the results; None leaves them to the compiler.
    gradients: of these parts a step holds gradients; empty for decoding.
    kept: bytes on a device of activations that the forward pass keeps; None is
      not known.
    turns: of loops that find out when they run how many; None: not known.
    taken: share of the branches that are, which only the data decide; 1 counts
      all of them.

  >>> x = jax.ShapeDtypeStruct((3, 5), "float32")
  >>> Job("double", lambda x: 2 * x, (x,), {"x": x}, 3, 0.0).tokens
  3
  """

  name: str
  step: Callable[..., Any]
  arguments: tuple[PyTree, ...]
  parts: Mapping[str, PyTree]
  tokens: int
  model_flops: float
  donated: tuple[int, ...] = ()
  out_shardings: Any = None
  gradients: tuple[str, ...] = ()
  kept: int | None = None
  turns: int | None = None
  taken: float = 1.0


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
  """What a job needs of each device, and what it takes.

  Args:
    job: its name.
    machine: what it was compiled for.
    axes: of the mesh, name -> devices.
    tokens: of a step, on all devices.
    memory: of the fullest device.
    costs: of one device; None where the compiler refused the program.
    exchanges: between devices, a step.
    times: None where the rates are not known, or there are no costs.
    model_flops: of a step, on all devices.
    compile_seconds: that it took here.
    unknown_loops: loops of the program counted once for want of a number.
    taken: share of the branches that is counted.

  >>> from attnjax.plan.devices import mesh_of
  >>> from attnjax.plan.topology import topology
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

  @property
  def tokens_per_second(self) -> float | None:
    """On all devices together, if a step takes no longer than it must."""
    return None if self.times is None else self.tokens / self.times.best

  def device_hours(self, tokens: float) -> float | None:
    """To handle so many tokens at that rate."""
    rate = self.tokens_per_second
    return None if rate is None else tokens / rate * self.machine.devices / 3600


def make_plan(job: Job, machine: Topology, mesh: Mesh) -> Plan:
  """Compiles a job for a machine that need not be here, and reads the result.

  Args:
    job: the step and the shapes of its arguments, with shardings on the mesh.
    machine: from `topology`.
    mesh: over its devices, from `mesh_of`.

  Returns:
    The plan. A program that the compiler refuses as too large has one too.

  Raises:
    ImportError: the compiler for the machine is not installed.

  >>> from jax.sharding import NamedSharding, PartitionSpec
  >>> from attnjax.plan.devices import mesh_of
  >>> from attnjax.plan.topology import topology
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
  held: dict[str, Any] = {
    "gradients": sum(parts[name] for name in job.gradients),
    "kept": job.kept,
    "capacity": machine.chip.capacity,
  }
  if machine.chip.platform == "cpu":
    # All devices of a CPU share its memory.
    held["capacity"] = machine.chip.capacity // machine.devices
  started = time.perf_counter()
  try:
    compiled = _compile(job, mesh)
  except jax.errors.JaxRuntimeError as error:
    memory = refused(error, parts, **held)
    if memory is None:
      raise
    seconds = time.perf_counter() - started
    return _plan(job, machine, mesh, memory, seconds, "")
  seconds = time.perf_counter() - started
  memory = measured(compiled.memory_analysis(), parts, **held)
  return _plan(job, machine, mesh, memory, seconds, compiled.as_text())


def _compile(job: Job, mesh: Mesh) -> Any:
  """The program of a job, for the devices of a mesh."""
  options = {}
  if job.out_shardings is not None:
    options["out_shardings"] = job.out_shardings
  jitted = jax.jit(job.step, donate_argnums=job.donated, **options)
  with jax.set_mesh(mesh):
    return jitted.trace(*job.arguments).lower().compile()


def _plan(
  job: Job,
  machine: Topology,
  mesh: Mesh,
  memory: Memory,
  seconds: float,
  text: str,
) -> Plan:
  """A plan from the text of the program; without text, of the memory alone."""
  program = None
  if text:
    program = read_program(text, turns=job.turns, taken=job.taken)
  spent = costs(program) if program else None
  exchanges = collectives(program, mesh) if program else []
  times = None
  if spent is not None:
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
