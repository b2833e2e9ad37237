"""How many processes a run has, which of them this is, and who says so."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from attnjax.config import Config, setting
from attnjax.training.launchers import announced, in_part, says_where


@dataclasses.dataclass(frozen=True)
class ProcessesConfig(Config):
  """How the processes of a run find each other, and notice that one is lost.

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
  """What `jax.distributed.initialize` is to be called with.

  Flags go before what a launcher announces.

  Args:
    config: the flags.
    environment: `os.environ`.

  Returns:
    Its keyword arguments; None where there is one process only.

  Raises:
    ValueError: there are several processes and nobody says which this is,
      where the first one is or how many there are, or it is one too many; or a
      launcher asked for by name is not there.

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
  if count == 1 or (count is None and found.by == "nobody"):
    _refuse_a_part(config, count)
    if count is None and config.launcher != "none":
      _refuse_unnumbered(environment)
    return None
  asks = found.by in ("slurm", "openmpi", "tpu", "kubernetes")
  if not asks or (found.by == "openmpi" and not says_where(environment)):
    _require(found.by, coordinator=address, index=index)
  return {
    "coordinator_address": address,
    "num_processes": count,
    "process_id": index,
    "initialization_timeout": config.join_seconds,
    "heartbeat_timeout_seconds": config.lost_seconds,
    # Who is late at the end may be writing a report; the dead are noticed.
    "shutdown_timeout_seconds": 3600,
    "cluster_detection_method": None if asks else "deactivate",
  }


def _require(by: str, **needed: Any) -> None:
  """Raises where a flag is missing that nobody makes up for."""
  missing = [f"processes.{name}" for name, x in needed.items() if x is None]
  if missing:
    raise ValueError(
      f"{' and '.join(missing)}: expected a value, got none, and {by}"
      " announces none; give every process the same coordinator and an index of"
      " its own"
    )


def _refuse_a_part(config: ProcessesConfig, count: int | None) -> None:
  """Raises where flags name a process of a run that has none but this."""
  if count is None and (config.coordinator, config.index) != (None, None):
    raise ValueError(
      "processes.count: expected a number beside processes.coordinator and"
      " processes.index, got none; say how many processes the run has"
    )


def _refuse_unnumbered(environment: Mapping[str, str]) -> None:
  """Raises where the environment names other processes, and not how many."""
  if said := in_part(environment):
    raise ValueError(
      f"processes: {', '.join(said)} in the environment say that this process"
      " is one of several, and nobody says all of it; set"
      " JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID, or give"
      " --config.train.processes.launcher=none to train alone"
    )
