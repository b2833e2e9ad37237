"""The `mpirun` line of a job."""

import sys
from collections.abc import Sequence

from launch.job import Job
from launch.layout import Layout

__all__ = ["command"]

# Seconds from a request to stop to SIGTERM, and from SIGTERM to SIGKILL: to
# save in. Open MPI's own is one.
PATIENCE = 30
_PATIENCE = "odls_base_sigkill_timeout"


def command(
  job: Job,
  layout: Layout,
  extra: Sequence[str] = (),
  coordinator: str | None = None,
) -> tuple[str, ...]:
  """What starts all processes of a job.

  Args:
    job: its place is a directory that all hosts see.
    layout: made with `process_a_gpu=True`.
    extra: more options of mpirun; `--mca odls_base_sigkill_timeout 60` takes
      the place of ours, for mpirun refuses two.
    coordinator: host:port of the first process; None where Open MPI says it,
      as it does before version 5.

  >>> line = command(Job("heads", place="runs/x"), Layout(None, 1, 1))
  >>> line[:3]
  ('mpirun', '-n', '1')
  """
  line = list(job.line(sys.executable))
  if coordinator is not None:
    line.insert(-1, f"--config.train.processes.coordinator={coordinator}")
  exports = [
    text
    for name, value in layout.environment().items()
    for text in ("-x", f"{name}={value}")
  ]
  spread = []
  if layout.platform == "cuda":  # one process a GPU, in order of hosts
    spread = ["--map-by", f"ppr:{layout.processes_each}:node"]
  patience = ("--mca", _PATIENCE, str(PATIENCE))
  return (
    *("mpirun", "-n", str(layout.processes), *spread, *exports),
    *(() if _PATIENCE in " ".join(extra) else patience),
    *extra,
    *line,
  )
