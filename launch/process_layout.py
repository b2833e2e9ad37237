"""Processes and hosts of a job, with checks of its mesh against the machine."""

import dataclasses
import math

from attnjax.plan import Topology, topology
from launch.job import Job, config_of
from launch.shares import check_job_shares

__all__ = ["ProcessLayout", "process_layout", "require_platform"]


@dataclasses.dataclass(frozen=True)
class ProcessLayout:
  """Hosts and processes of a job; all processes have equally many devices.

  Args:
    machine: the topology; None is whatever one host has.
    hosts: machines.
    processes: of JAX, in all.

  >>> from attnjax.plan import topology
  >>> ProcessLayout(topology("h100:16"), hosts=2, processes=16).devices_each
  1
  """

  machine: Topology | None
  hosts: int
  processes: int

  @property
  def platform(self) -> str:
    """`tpu`, `cuda`, `cpu`, or `any` without a topology."""
    return "any" if self.machine is None else self.machine.chip.platform

  @property
  def processes_each(self) -> int:
    """Number of processes on each host."""
    return self.processes // self.hosts

  @property
  def devices_each(self) -> int:
    """Number of devices of each process."""
    return 1 if self.machine is None else self.machine.devices // self.processes

  def environment(self) -> dict[str, str]:
    """Environment variables that make JAX see its devices, on a CPU."""
    if self.platform != "cpu":
      return {}
    count = f"--xla_force_host_platform_device_count={self.devices_each}"
    return {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": count}


def process_layout(job: Job, *, process_a_gpu: bool = False) -> ProcessLayout:
  """Counts hosts and processes of a job, and checks its mesh and batch.

  Args:
    job: the job.
    process_a_gpu: whether each process has one GPU, as JAX wants it under
      SLURM and Open MPI, and not all GPUs of its host.

  Raises:
    ValueError: no such experiment, preset, setting or topology, processes
      that do not fill the mesh, or a mesh that does not divide the batch or
      the model; with the remedy.

  >>> from launch.job import Job
  >>> process_layout(Job("language_model", topology="v5e:4x4"))
  Traceback (most recent call last):
  ValueError: mesh: expected sizes that multiply to the 16 devices of 4
  processes, got data=1 x fsdp=1 x tensor=1 x sequence=1 = 1; choose data=16, or
  data=0 for all that are left
  """
  config = config_of(job)
  if job.topology is None:
    if job.processes not in (None, 1):
      raise ValueError(
        f"topology: expected one to share out among {job.processes} processes,"
        f" got none; add --topology=cpu:{max(job.processes, 1)}"
      )
    return ProcessLayout(None, 1, 1)

  machine = topology(job.topology)
  layout = _spread(machine, job.processes, process_a_gpu)
  train = getattr(config, "train", None)
  # Without the setting its processes would not join, and each would run it all.
  if layout.processes > 1 and not hasattr(train, "processes"):
    raise ValueError(
      f"processes: {job.experiment} runs in one process, got"
      f" {layout.processes} for {job.topology}; name a smaller --topology"
    )

  if train is not None and hasattr(train, "mesh"):
    sizes = train.mesh.axes(machine.devices, layout.processes)
    check_job_shares(job.experiment, config, sizes)

  return layout


def require_platform(
  layout: ProcessLayout, place: str, *platforms: str
) -> Topology:
  """Returns the machine of a layout; refuses an unsupported platform.

  Raises:
    ValueError: it has not, or the job names no topology.

  >>> require_platform(ProcessLayout(None, 1, 1), "GKE", "tpu")
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
) -> ProcessLayout:
  """Divides a machine into processes, as its platform requires."""
  # A CPU is divided as asked; an accelerator by hosts, or one GPU a process.
  devices, chip = machine.devices, machine.chip
  if chip.platform == "cpu":
    count = 1 if asked is None else asked
    if count < 1 or devices % count:
      raise ValueError(
        f"processes: expected a divisor of the {devices} devices of"
        f" {machine.name}, got {count}; choose --topology=cpu:"
        f"{max(count, 1) * math.ceil(devices / max(count, 1))}"
      )
    return ProcessLayout(machine, count, count)

  hosts = math.ceil(devices / chip.host)
  one_each = process_a_gpu and chip.platform == "cuda"
  count = devices if one_each else hosts
  if asked not in (None, count):
    raise ValueError(
      f"processes: {machine.name} is {hosts} hosts and takes {count} here, one"
      f" {'GPU' if one_each else 'host'} each, got {asked}; leave --processes"
      " out"
    )

  return ProcessLayout(machine, hosts, count)
