"""Number and index of the processes of a run, from flags or a launcher."""

import dataclasses
import glob
import importlib.util
from collections.abc import Callable, Mapping
from typing import Any

from attnjax.config import Config, setting

__all__ = [
  "Announced",
  "ProcessesConfig",
  "announced",
  "in_part",
  "says_where",
  "start_arguments",
]

_PORT = 8476  # of the first process, where a launcher names its host only


@dataclasses.dataclass(frozen=True)
class Announced:
  """Processes as a launcher announces them; JAX detects fields that are None.

  Args:
    by: name of the launcher.
    count: number of processes.
    index: which of them this is.
    coordinator: host:port of the first.
  """

  by: str
  count: int | None
  index: int | None
  coordinator: str | None = None


def announced(launcher: str, environment: Mapping[str, str]) -> Announced:
  """Reads number and index of the processes from environment variables.

  Args:
    launcher: as in `ProcessesConfig`; `auto` takes the first that is found.
    environment: `os.environ`.

  Raises:
    ValueError: the launcher says nothing, or no number where one belongs.

  >>> ompi = {"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "3"}
  >>> announced("auto", ompi)
  Announced(by='openmpi', count=4, index=3, coordinator=None)
  """
  if launcher == "none":
    return Announced("nobody", None, None)
  # JAX asks the metadata server of a pod, where the environment says nothing.
  if launcher == "tpu":
    return _tpu(environment) or Announced("tpu", None, None)

  if launcher != "auto":
    found = _LAUNCHERS[launcher](environment)
    if found is None:
      raise ValueError(
        f"processes.launcher: {launcher!r} announces no processes here; start"
        " the program with it, or give processes.coordinator, count and index"
      )
    return found

  said = (read(environment) for read in _LAUNCHERS.values())
  return next(filter(None, said), Announced("nobody", None, None))


def _slurm(environment: Mapping[str, str]) -> Announced | None:
  """A SLURM step, started by `srun`; None in the batch script itself."""
  names = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_LOCALID")
  if not all(name in environment for name in names):
    return None
  # JAX derives the coordinator of SLURM and Open MPI itself.
  count, index = _numbers(environment, "SLURM_NTASKS", "SLURM_PROCID")
  return Announced("slurm", count, index)


def _openmpi(environment: Mapping[str, str]) -> Announced | None:
  """`mpirun` of Open MPI."""
  names = ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK")
  if names[0] not in environment:
    return None
  count, index = _numbers(environment, *names)
  return Announced("openmpi", count, index)


def says_where(environment: Mapping[str, str]) -> bool:
  """Whether Open MPI names its first host: version 5 and later do not."""
  return "OMPI_MCA_orte_hnp_uri" in environment


def _tpu(environment: Mapping[str, str]) -> Announced | None:
  """The hosts of a TPU pod, of one slice or of several."""
  # Hosts of one slice; MEGASCALE_NUM_SLICES counts the slices of a job.
  hosts = environment.get("TPU_WORKER_HOSTNAMES", "")
  if not hosts or "TPU_WORKER_ID" not in environment:
    # JAX uses a TPU by itself, or where a list of platforms names it.
    platforms = environment.get("JAX_PLATFORMS", "").lower().split(",")
    allowed = platforms == [""] or "tpu" in (x.strip() for x in platforms)
    found = allowed and _has_tpu()
    return Announced("tpu", None, None) if found else None

  name = "MEGASCALE_NUM_SLICES"
  [slices] = _numbers(environment, name) if environment.get(name) else [1]
  return Announced("tpu", len(hosts.split(",")) * slices, None)


def _has_tpu() -> bool:
  """Whether this machine has a TPU, and libtpu is installed."""
  devices = glob.glob("/dev/accel[0-9]*") + glob.glob("/dev/vfio/[0-9]*")
  return bool(devices) and importlib.util.find_spec("libtpu") is not None


def in_part(environment: Mapping[str, str]) -> list[str]:
  """Names of JAX's variables that describe one process of several.

  Used where no launcher was found: an incomplete set is an error, because JAX
  would silently train alone without a number of processes.
  """
  names = ("JAX_COORDINATOR_ADDRESS", "JAX_PROCESS_ID", "JAX_NUM_PROCESSES")
  said = [name for name in names if environment.get(name)]
  # A count of 1 is complete: it says that there are no others.
  return [] if environment.get("JAX_NUM_PROCESSES") == "1" else said


def _kubernetes(environment: Mapping[str, str]) -> Announced | None:
  """A pod of an indexed Kubernetes job, by variables of its manifest."""
  address = environment.get("JAX_COORDINATOR_ADDRESS")
  if "JAX_NUM_PROCESSES" not in environment or address is None:
    return None
  name = "JOB_COMPLETION_INDEX"
  # What a manifest sets itself takes precedence over the index of the pod.
  name = "JAX_PROCESS_ID" if "JAX_PROCESS_ID" in environment else name
  count, index = _numbers(environment, "JAX_NUM_PROCESSES", name)
  return Announced("environment", count, index, address)


def _sky(environment: Mapping[str, str]) -> Announced | None:
  """A node of SkyPilot."""
  hosts = environment.get("SKYPILOT_NODE_IPS", "").split()
  if not hosts:
    return None
  [index] = _numbers(environment, "SKYPILOT_NODE_RANK")
  return Announced("sky", len(hosts), index, f"{hosts[0]}:{_PORT}")


# `auto` asks them in this order.
_LAUNCHERS: dict[str, Callable[[Mapping[str, str]], Announced | None]] = {
  "tpu": _tpu,
  "kubernetes": _kubernetes,
  "sky": _sky,
  "openmpi": _openmpi,
  "slurm": _slurm,
}


def _numbers(environment: Mapping[str, str], *names: str) -> list[int]:
  """Variables of the environment as whole numbers."""
  for name in names:
    if not environment.get(name, "").isdecimal():
      raise ValueError(
        f"{name}: expected a whole number in the environment, got"
        f" {environment.get(name)!r}; a launcher should have set it"
      )
  return [int(environment[name]) for name in names]


@dataclasses.dataclass(frozen=True)
class ProcessesConfig(Config):
  """How the processes of a run join, and how long a lost one is waited for.

  Raises:
    ValueError: a number is out of its range, or the address has no port.

  >>> ProcessesConfig(coordinator="10.0.0.1:8476", count=2, index=0).count
  2
  """

  launcher: str = setting(
    "auto",
    "who announces the processes: the first that is found in the environment,"
    " nobody, or one by name",
    choices=("auto", "none", "slurm", "openmpi", "tpu", "kubernetes", "sky"),
    decides=False,
  )
  coordinator: str | None = setting(
    None, "host:port of the first process; none: as announced", decides=False
  )
  count: int | None = setting(
    None,
    "number of processes of the run; none: as announced, or one",
    at_least=1,
    decides=False,
  )
  index: int | None = setting(
    None,
    "which of them this is, from 0; none: as announced",
    at_least=0,
    decides=False,
  )
  join_seconds: int = setting(
    120,
    "seconds to wait at the start for processes that are missing",
    at_least=1,
    decides=False,
  )
  lost_seconds: int = setting(
    30,
    "seconds without a sign of life after which a process counts as lost, and"
    " the others stop",
    at_least=2,
    decides=False,
  )

  def __post_init__(self):
    super().__post_init__()
    if self.coordinator is not None and ":" not in self.coordinator:
      raise ValueError(
        f"processes.coordinator: expected host:port, got {self.coordinator!r}"
      )


def start_arguments(
  config: ProcessesConfig, environment: Mapping[str, str]
) -> dict[str, Any] | None:
  """Keyword arguments for `jax.distributed.initialize`.

  Flags take precedence over what a launcher announces.

  Args:
    config: the flags.
    environment: `os.environ`.

  Returns:
    The arguments; None where there is one process only.

  Raises:
    ValueError: there are several processes and their number, the address of
      the first or the index of this one is missing; the index is too large; or
      the environment has no variables of the launcher that is named.

  >>> step = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "2", "SLURM_PROCID": "1",
  ...   "SLURM_LOCALID": "0", "SLURM_STEP_NODELIST": "n[1-2]"}
  >>> start_arguments(ProcessesConfig(), step)["num_processes"]
  2
  >>> start_arguments(ProcessesConfig(), {}) is None
  True
  """
  found = announced(config.launcher, environment)
  count = config.count if config.count is not None else found.count
  index = config.index if config.index is not None else found.index
  address = config.coordinator or found.coordinator

  if count is not None and index is not None and index >= count:
    raise ValueError(
      f"processes.index: expected 0 to {count - 1}, for the run has {count}"
      f" processes, got {index}"
    )

  # A single process: nothing may say that it is one of several.
  if count == 1 or (count is None and found.by == "nobody"):
    if count is None and (config.coordinator, config.index) != (None, None):
      raise ValueError(
        "processes.count: expected a number beside processes.coordinator and"
        " processes.index, got none; say how many processes the run has"
      )

    said = in_part(environment)
    if count is None and config.launcher != "none" and said:
      raise ValueError(
        f"processes: {', '.join(said)} in the environment say that this process"
        " is one of several, and nobody says all of it; set"
        " JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID, or"
        " give --config.train.processes.launcher=none to train alone"
      )

    return None

  # With these JAX finds out by itself what is still None.
  asks = found.by in ("slurm", "openmpi", "tpu", "kubernetes")
  if not asks or (found.by == "openmpi" and not says_where(environment)):
    _require(found.by, coordinator=address, index=index)

  return {
    "coordinator_address": address,
    "num_processes": count,
    "process_id": index,
    "initialization_timeout": config.join_seconds,
    "heartbeat_timeout_seconds": config.lost_seconds,
    # Long, for a process may be late at the end because it writes a report;
    # one that is dead is noticed by its heartbeat.
    "shutdown_timeout_seconds": 3600,
    # Where all is known JAX must not find another launcher and overrule it.
    "cluster_detection_method": None if asks else "deactivate",
  }


def _require(by: str, **needed: Any) -> None:
  """Refuses a missing flag that the launcher does not announce either."""
  missing = [f"processes.{name}" for name, x in needed.items() if x is None]
  if missing:
    raise ValueError(
      f"{' and '.join(missing)}: expected a value, got none, and {by}"
      " announces none; give every process the same coordinator and an index of"
      " its own"
    )
