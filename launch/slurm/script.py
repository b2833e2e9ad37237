"""The batch script of a job, or of a job array."""

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from launch.environment import export_lines
from launch.job import ROOT, Job
from launch.process_layout import ProcessLayout
from launch.quoting import sbatch_line
from launch.slurm.limit import EARLY, SHORTEST, notice_of

__all__ = ["array_script", "script"]

RESTARTS = 20

_RUN = """\
# A limit that is a partition's own is known here only: days-hours:min:sec.
limit=$(squeue --noheader --jobs="$SLURM_JOB_ID" --format=%l 2> /dev/null)
if [[ $limit =~ ^(([0-9]+)-)?(([0-9]+):)?([0-9]+):([0-9]+)$ ]]; then
  part=("${{BASH_REMATCH[@]}}")
  lasts=$((86400 * 10#0${{part[2]}} + 3600 * 10#0${{part[4]}}))
  lasts=$((lasts + 60 * 10#0${{part[5]}} + 10#0${{part[6]}}))
  if [ $lasts -lt {least} ]; then
    echo "error: the time limit is $lasts seconds, and SIGTERM may come" \\
      "{early} seconds before it; give --sbatch=--time=5 or more" >&2
    exit 1
  fi
fi
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


def script(job: Job, layout: ProcessLayout, extra: Sequence[str] = ()) -> str:
  r"""The batch script of a job, for `sbatch`.

  Args:
    job: its place is a directory that all nodes see.
    layout: made with `process_a_gpu=True`.
    extra: more options of sbatch, such as `--partition=debug`.

  Raises:
    ValueError: the place has a character that sbatch reads in its own way.

  >>> from launch.job import Job
  >>> from launch.process_layout import ProcessLayout
  >>> text = script(Job("heads", place="/scratch/x"), ProcessLayout(None, 1, 1))
  >>> print("\n".join(text.splitlines()[:3]))
  #!/bin/bash
  #SBATCH --job-name=heads-tiny-c7d0e9
  #SBATCH --nodes=1
  """
  log = _log(Path(job.directory), "slurm-%j.out")
  line = f"line=({shlex.join(job.line(sys.executable))})"
  notice = notice_of(extra, os.environ)
  return _header(job, layout, log, extra) + _run(layout, line, ":", notice)


def array_script(
  jobs: Sequence[Job],
  layout: ProcessLayout,
  place: Path,
  extra: Sequence[str] = (),
  at_once: int = 8,
) -> str:
  """The batch script of a job array, one task a job.

  Args:
    jobs: of one layout, each with a place of its own in `place`.
    layout: as for `script`.
    place: of all; a file in `finished/` marks a job as done.
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
    f"[ $code -eq 0 ] && mkdir -p {folder} &&"
    f""" printf '%s\\n' "$asked" > {folder}/"$name\""""
  )
  header = _header(jobs[0], layout, log, (array, *extra))

  return header + _run(layout, line, finished, notice_of(extra, os.environ))


def _log(place: Path, name: str) -> str:
  """A log file's path with sbatch's `%` patterns, quoted by `"`."""
  for character in ('"', "\\", "\n", "\r"):
    if character in str(place):
      raise ValueError(
        f"workdir: expected a directory without {character!r}, which sbatch"
        f" takes for its own, got {str(place)!r}; choose another --workdir"
      )
  return f"{place}/".replace("%", "%%") + name


def _header(
  job: Job, layout: ProcessLayout, log: str, extra: Sequence[str]
) -> str:
  """Shebang and `#SBATCH` lines of the script."""
  notice = notice_of(extra, os.environ)
  options = [
    f"--job-name={job.name}",
    f"--nodes={layout.hosts}",
    f"--ntasks-per-node={layout.processes_each}",
    "--requeue",
    "--open-mode=append",  # a requeued job goes on in its log
    f'--output="{log}"',
    f"--signal=TERM@{notice}",  # before the limit: to save, and be requeued
  ]
  if layout.machine is not None and layout.platform == "cuda":
    gpus = layout.machine.devices // layout.hosts
    options.append(f"--gpus-per-node={gpus}")

  lines = [f"#SBATCH {option}" for option in options]
  lines += [sbatch_line(option) for option in extra]
  # No `set -e`: the exit code of srun decides whether the job is requeued.
  return "\n".join(["#!/bin/bash", *lines, "set -u", ""])


def _run(layout: ProcessLayout, line: str, finished: str, notice: int) -> str:
  """The body of the script, which the first node runs."""
  return _RUN.format(
    early=notice + EARLY,
    least=notice + EARLY + SHORTEST,
    root=shlex.quote(str(ROOT)),
    exports=export_lines(layout.environment()),
    line=line,
    finished=finished,
    restarts=RESTARTS,
  )
