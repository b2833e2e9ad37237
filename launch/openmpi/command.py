"""The `mpirun` line of a job."""

import itertools
import os
import shlex
import sys
from collections.abc import Mapping, Sequence

from launch.environment import mpirun_environment
from launch.job import ROOT, Job
from launch.process_layout import ProcessLayout

__all__ = ["command", "options"]

# Seconds from a request to stop to SIGTERM, and from SIGTERM to SIGKILL: to
# save in. Open MPI's own is one.
PATIENCE = 30
_PATIENCE = "odls_base_sigkill_timeout"


def command(
  job: Job,
  layout: ProcessLayout,
  extra: Sequence[str] = (),
) -> tuple[str, ...]:
  """The words of the mpirun command that starts all processes of a job.

  Args:
    job: its place is a directory that all hosts see.
    layout: made with `process_a_gpu=True`.
    extra: more options of mpirun; `--mca odls_base_sigkill_timeout 60` takes
      the place of ours, for mpirun refuses two.

  >>> from launch.job import Job
  >>> from launch.process_layout import ProcessLayout
  >>> line = command(Job("heads", place="runs/x"), ProcessLayout(None, 1, 1))
  >>> line[:3]
  ('mpirun', '-n', '1')
  """
  own = mpirun_environment(os.environ, layout.environment())
  _refuse_ours(extra, own)
  exports = [
    text for name, value in own.items() for text in ("-x", f"{name}={value}")
  ]
  spread = []
  if layout.platform == "cuda":  # one process a GPU, in order of hosts
    spread = ["--map-by", f"ppr:{layout.processes_each}:node"]

  patience = ("--mca", _PATIENCE, str(PATIENCE))
  return (
    # Files that options name are looked for where mpirun is called.
    *("mpirun", "-n", str(layout.processes), "--wdir", str(ROOT)),
    *(*spread, *exports),
    *(() if _PATIENCE in " ".join(extra) else patience),
    *extra,
    *job.line(sys.executable),
  )


def options(texts: Sequence[str]) -> list[str]:
  """Splits texts of mpirun options into words, as a shell does.

  Args:
    texts: each as it would be typed behind `mpirun`.

  Raises:
    ValueError: a quote that is not closed.

  >>> options(["--hostfile 'my hosts'", "--oversubscribe"])
  ['--hostfile', 'my hosts', '--oversubscribe']
  """
  found: list[str] = []
  for text in texts:
    try:
      found += shlex.split(text)
    except ValueError as error:
      raise ValueError(
        f"mpirun: expected words as a shell reads them, got {text!r}: {error};"
        " close the quote"
      ) from None

  return found


def _refuse_ours(extra: Sequence[str], own: Mapping[str, str]) -> None:
  """Refuses options that the command sets: mpirun fails, or takes the last."""
  for name, value in itertools.pairwise(("", *extra)):
    option = value.lstrip("-")
    if value.startswith("-") and option in ("wdir", "wd"):
      raise ValueError(
        f"mpirun: a job runs in the checkout, got {value}; leave it out"
      )
    variable = value.partition("=")[0]
    if name in ("-x", "--x") and variable in own:
      raise ValueError(
        f"mpirun: {variable} is set by the line already, got -x {value}; set"
        " XLA_FLAGS in the environment of this command, to which it is added"
      )
