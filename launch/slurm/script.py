"""The batch script of a job, or of many that make an array."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from launch.job import ROOT, Job
from launch.layout import Layout

__all__ = ["array_script", "script"]

RESTARTS = 20

_RUN = """\
cd {root}
{exports}{line}
# No --kill-on-bad-exit: processes notice the end of another by themselves, and
# the exit code says why, which a kill would hide.
srun --wait=600 "${{line[@]}}"
code=$?
{finished}
# 75: asked to stop, and saved. From 128 on: killed, as a lost node kills.
# Whatever else is an error that would come again.
if {{ [ $code -eq 75 ] || [ $code -ge 128 ]; }} &&
  [ "${{SLURM_RESTART_COUNT:-0}}" -lt {restarts} ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit $code
"""


def script(job: Job, layout: Layout, extra: Sequence[str] = ()) -> str:
  r"""The text for `sbatch`.

  Args:
    job: its place is a directory that all nodes see.
    layout: made with `process_a_gpu=True`.
    extra: more options of sbatch, such as `--partition=debug`.

  Raises:
    ValueError: the place has a character that sbatch reads in its own way.

  >>> text = script(Job("heads", place="/scratch/x"), Layout(None, 1, 1))
  >>> print("\n".join(text.splitlines()[:3]))
  #!/bin/bash
  #SBATCH --job-name=heads-tiny-c7d0e9
  #SBATCH --nodes=1
  """
  log = _log(Path(job.directory), "slurm-%j.out")
  line = f"line=({shlex.join(job.line(sys.executable))})"
  return _header(job, layout, log, extra) + _run(layout, line, ":")


def array_script(
  jobs: Sequence[Job],
  layout: Layout,
  place: Path,
  extra: Sequence[str] = (),
  at_once: int = 8,
) -> str:
  """The same for many jobs, one a task of an array.

  Args:
    jobs: of one layout, each with a place of its own in `place`.
    layout: as for `script`.
    place: of all; a file in `finished/` says that a job is done.
    extra: as for `script`.
    at_once: tasks that run at the same time.

  Raises:
    ValueError: as for `script`.
  """
  array = f"--array=0-{len(jobs) - 1}%{at_once}"
  log = _log(place, "slurm-%A_%a.out")
  cases = "\n".join(
    f"  {index}) name={shlex.quote(Path(job.directory).name)}"
    f" asked={shlex.quote(shlex.join(job.asked()))}"
    f"\n    line=({shlex.join(job.line(sys.executable))}) ;;"
    for index, job in enumerate(jobs)
  )
  line = f'case "$SLURM_ARRAY_TASK_ID" in\n{cases}\nesac'
  folder = shlex.quote(str(place / "finished"))
  finished = (
    f'[ $code -eq 0 ] && mkdir -p {folder} && echo "$asked" > {folder}/"$name"'
  )
  header = _header(jobs[0], layout, log, (array, *extra))
  return header + _run(layout, line, finished)


def _log(place: Path, name: str) -> str:
  """A file of a place, as sbatch reads it: with patterns of its own, in `"`."""
  for character in ('"', "\\", "\n", "\r"):
    if character in str(place):
      raise ValueError(
        f"workdir: expected a directory without {character!r}, which sbatch"
        f" takes for its own, got {str(place)!r}; choose another --workdir"
      )
  return f"{place}/".replace("%", "%%") + name


def _header(job: Job, layout: Layout, log: str, extra: Sequence[str]) -> str:
  """What sbatch reads."""
  options = [
    f"--job-name={job.name}",
    f"--nodes={layout.hosts}",
    f"--ntasks-per-node={layout.processes_each}",
    "--requeue",
    "--open-mode=append",  # a requeued job goes on in its log
    f'--output="{log}"',
    "--signal=TERM@120",  # before the time limit: to save, and be requeued
  ]
  if layout.machine is not None and layout.platform == "cuda":
    gpus = layout.machine.devices // layout.hosts
    options.append(f"--gpus-per-node={gpus}")
  lines = [f"#SBATCH {option}" for option in (*options, *extra)]
  return "\n".join(["#!/bin/bash", *lines, "set -u", ""])


def _run(layout: Layout, line: str, finished: str) -> str:
  """What the first node runs."""
  exports = "".join(
    f"export {name}={shlex.quote(value)}\n"
    for name, value in layout.environment().items()
  )
  return _RUN.format(
    root=shlex.quote(str(ROOT)),
    exports=exports,
    line=line,
    finished=finished,
    restarts=RESTARTS,
  )
