"""What each launcher says in the environment of the processes it starts."""

import dataclasses
import glob
import importlib.util
from collections.abc import Callable, Mapping

_PORT = 8476  # of the first process, where a launcher names its host only


@dataclasses.dataclass(frozen=True)
class Announced:
  """What a launcher says; JAX finds out itself what is None.

  Args:
    by: the launcher.
    count: number of processes.
    index: which of them this is.
    coordinator: host:port of the first.
  """

  by: str
  count: int | None
  index: int | None
  coordinator: str | None = None


def announced(launcher: str, environment: Mapping[str, str]) -> Announced:
  """What the launcher of a name says, or the first that says anything.

  Args:
    launcher: as in `ProcessesConfig`.
    environment: `os.environ`.

  Raises:
    ValueError: the launcher says nothing, or no number where one belongs.

  >>> ompi = {"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "3"}
  >>> announced("auto", ompi)
  Announced(by='openmpi', count=4, index=3, coordinator=None)
  """
  if launcher == "none":
    return Announced("nobody", None, None)
  if launcher == "tpu":  # a machine of a pod asks its metadata, by JAX
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
  """A step of SLURM: only `srun` makes one, and not the batch script."""
  names = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_LOCALID")
  if not all(name in environment for name in names):
    return None
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
  """Whether Open MPI names the host it was started on; 5 and later do not."""
  return "OMPI_MCA_orte_hnp_uri" in environment


def _tpu(environment: Mapping[str, str]) -> Announced | None:
  """The hosts of a TPU pod, of one slice or of several."""
  hosts = environment.get("TPU_WORKER_HOSTNAMES", "")
  if not hosts or "TPU_WORKER_ID" not in environment:
    here = _has_tpu() and _may_use_tpu(environment)
    return Announced("tpu", None, None) if here else None
  name = "MEGASCALE_NUM_SLICES"
  [slices] = _numbers(environment, name) if environment.get(name) else [1]
  return Announced("tpu", len(hosts.split(",")) * slices, None)


def _may_use_tpu(environment: Mapping[str, str]) -> bool:
  """Whether JAX may use a TPU: by itself, or as one of a list of platforms."""
  named = environment.get("JAX_PLATFORMS", "").lower().split(",")
  return named == [""] or "tpu" in (name.strip() for name in named)


def _has_tpu() -> bool:
  """Whether this machine has a TPU and what it takes to use it."""
  devices = glob.glob("/dev/accel[0-9]*") + glob.glob("/dev/vfio/[0-9]*")
  return bool(devices) and importlib.util.find_spec("libtpu") is not None


def in_part(environment: Mapping[str, str]) -> list[str]:
  """Variables of JAX by which a process is one of several, if any are set.

  Where no launcher was found they say too little: without a number of
  processes JAX starts alone.
  """
  names = ("JAX_COORDINATOR_ADDRESS", "JAX_PROCESS_ID", "JAX_NUM_PROCESSES")
  said = [name for name in names if environment.get(name)]
  return [] if environment.get("JAX_NUM_PROCESSES") == "1" else said


def _kubernetes(environment: Mapping[str, str]) -> Announced | None:
  """A pod of an indexed job; its manifest says how many pods there are."""
  address = environment.get("JAX_COORDINATOR_ADDRESS")
  if "JAX_NUM_PROCESSES" not in environment or address is None:
    return None
  name = "JOB_COMPLETION_INDEX"
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


_LAUNCHERS: dict[str, Callable[[Mapping[str, str]], Announced | None]] = {
  "tpu": _tpu,
  "kubernetes": _kubernetes,
  "sky": _sky,
  "openmpi": _openmpi,
  "slurm": _slurm,
}


def _numbers(environment: Mapping[str, str], *names: str) -> list[int]:
  """Whole numbers of the environment."""
  for name in names:
    if not environment.get(name, "").isdecimal():
      raise ValueError(
        f"{name}: expected a whole number in the environment, got"
        f" {environment.get(name)!r}; a launcher should have set it"
      )
  return [int(environment[name]) for name in names]
