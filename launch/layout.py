"""How a job lies on its machines, and whether its mesh fills them."""

import dataclasses
import math
from typing import Any

from attnjax.plan import Topology, topology
from launch.job import Job, config_of
from launch.shares import check_job_shares

__all__ = ["Layout", "layout_of", "require_platform"]

_AXES = ("data", "fsdp", "sequence", "tensor")


@dataclasses.dataclass(frozen=True)
class Layout:
  """Processes on hosts; all processes have as many devices.

  Args:
    machine: the topology; None is whatever one host has.
    hosts: machines.
    processes: of JAX, in all.

  >>> from attnjax.plan import topology
  >>> Layout(topology("h100:16"), hosts=2, processes=16).devices_each
  1
  """

  machine: Topology | None
  hosts: int
  processes: int

  @property
  def platform(self) -> str:
    """`tpu`, `cuda`, `cpu`, or `any` where nobody says."""
    return "any" if self.machine is None else self.machine.chip.platform

  @property
  def processes_each(self) -> int:
    """Processes a host."""
    return self.processes // self.hosts

  @property
  def devices_each(self) -> int:
    """Devices a process."""
    return 1 if self.machine is None else self.machine.devices // self.processes

  def environment(self) -> dict[str, str]:
    """What makes JAX see the devices: only a CPU has to be told how many."""
    if self.platform != "cpu":
      return {}
    count = f"--xla_force_host_platform_device_count={self.devices_each}"
    return {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": count}


def layout_of(job: Job, *, process_a_gpu: bool = False) -> Layout:
  """Checks a job as far as can be done without its machines.

  Args:
    job: the job.
    process_a_gpu: whether each process has one GPU, as JAX wants it under
      SLURM and Open MPI, and not all GPUs of its host.

  Raises:
    ValueError: no such experiment, preset, setting or topology, processes
      that do not fill the mesh, or a mesh that does not divide the batch or
      the model; with the remedy.

  >>> from launch.job import Job
  >>> layout_of(Job("language_model", topology="v5e:4x4"))
  Traceback (most recent call last):
  ValueError: mesh: expected sizes that multiply to the 16 devices of v5e:4x4,
  got data=1 x fsdp=1 x sequence=1 x tensor=1 = 1; add
  --config.train.mesh.data=0 to let rows take what is left
  """
  config = config_of(job)
  if job.topology is None:
    if job.processes not in (None, 1):
      raise ValueError(
        f"topology: expected one to share out among {job.processes} processes,"
        f" got none; add --topology=cpu:{max(job.processes, 1)}"
      )
    return Layout(None, 1, 1)
  machine = topology(job.topology)
  layout = _spread(machine, job.processes, process_a_gpu)
  train = getattr(config, "train", None)
  if layout.processes > 1 and not hasattr(train, "processes"):
    raise ValueError(
      f"processes: {job.experiment} runs in one process, got"
      f" {layout.processes} for {job.topology}; name a smaller --topology"
    )
  if train is not None and hasattr(train, "mesh"):
    sizes = _mesh_sizes(train.mesh, machine)
    check_job_shares(job.experiment, config, sizes)
  return layout


def require_platform(layout: Layout, place: str, *platforms: str) -> Topology:
  """The machine, where a place has such.

  Raises:
    ValueError: it has not, or the job names no topology.

  >>> require_platform(Layout(None, 1, 1), "GKE", "tpu")
  Traceback (most recent call last):
  ValueError: topology: GKE runs on tpu, got none; name one, such as
  --topology=v5e:4x4
  """
  if layout.machine is None or layout.platform not in platforms:
    example = {"tpu": "v5e:4x4", "cuda": "h100:8"}.get(platforms[0], "cpu:2")
    got = "none" if layout.machine is None else layout.machine.name
    raise ValueError(
      f"topology: {place} runs on {' or '.join(platforms)}, got {got}; name"
      f" one, such as --topology={example}"
    )
  return layout.machine


def _spread(
  machine: Topology, asked: int | None, process_a_gpu: bool
) -> Layout:
  """Processes as a kind of machine takes them."""
  devices, chip = machine.devices, machine.chip
  if chip.platform == "cpu":
    count = 1 if asked is None else asked
    if count < 1 or devices % count:
      raise ValueError(
        f"processes: expected a divisor of the {devices} devices of"
        f" {machine.name}, got {count}; choose --topology=cpu:"
        f"{max(count, 1) * math.ceil(devices / max(count, 1))}"
      )
    return Layout(machine, count, count)
  hosts = math.ceil(devices / chip.host)
  one_each = process_a_gpu and chip.platform == "cuda"
  count = devices if one_each else hosts
  if asked not in (None, count):
    raise ValueError(
      f"processes: {machine.name} is {hosts} hosts and takes {count} here, one"
      f" {'GPU' if one_each else 'host'} each, got {asked}; leave --processes"
      " out"
    )
  return Layout(machine, hosts, count)


def _mesh_sizes(mesh: Any, machine: Topology) -> dict[str, int]:
  """As `MeshConfig.make` will find them there, found here."""
  sizes = {axis: getattr(mesh, axis) for axis in _AXES}
  rest = math.prod(size for size in sizes.values() if size)
  devices = machine.devices
  if not sizes["data"] and devices % rest == 0:
    return sizes | {"data": devices // rest}
  if rest == devices and sizes["data"]:
    return sizes
  said = " x ".join(f"{axis}={size}" for axis, size in sizes.items())
  others = math.prod(size for axis, size in sizes.items() if axis != "data")
  remedy = "--config.train.mesh.data=0 to let rows take what is left"
  if devices % others:
    remedy = f"sizes of the other axes whose product divides {devices}"
  raise ValueError(
    f"mesh: expected sizes that multiply to the {devices} devices of"
    f" {machine.name}, got {said} = {math.prod(sizes.values())}; add {remedy}"
  )
