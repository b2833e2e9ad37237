"""Ways to run the points of a sweep: here, SLURM array, SkyPilot."""

import concurrent.futures
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from attnjax.training.interruption import EXIT_CODE
from launch.job import ROOT, Job
from launch.local.processes import line_here, run_together
from launch.process_layout import ProcessLayout
from launch.quoting import sbatch_option
from launch.sky.task import task
from launch.slurm.script import array_script
from launch.sweep.points import Point, mark_finished
from launch.sweep.queued import record_queued, sky_name
from launch.sweep.stopping import Stopping

__all__ = ["in_cloud", "on_slurm", "run_here", "sky_files", "to_slurm"]


def run_here(
  place: Path, points: Sequence[Point], layout: ProcessLayout, at_once: int
) -> int:
  """Runs points on this machine; one that fails does not stop the others.

  SIGTERM and Ctrl-C stop all: running points get SIGTERM and are waited for.

  Args:
    place: directory of the sweep; the output of a point is in `logs/`.
    points: the unfinished ones.
    layout: of each.
    at_once: points that run at the same time.

  Returns:
    The exit code: 0 where all are done, 1 where some failed; where the sweep
    was stopped 75, or 130 by Ctrl-C.
  """
  (place / "logs").mkdir(parents=True, exist_ok=True)
  with Stopping() as stopping:

    def one(point: Point) -> int:
      return 0 if stopping.asked() else _run(place, point, layout, stopping)

    # Threads, for each does nothing but wait for processes.
    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
      codes = list(pool.map(one, points))
  if stopping.asked():
    print("stopped: the same command goes on", file=sys.stderr)
    return stopping.code
  return 1 if any(codes) else 0


def _run(
  place: Path, point: Point, layout: ProcessLayout, stopping: Stopping
) -> int:
  """Runs one point in a thread; prints and records how it ended."""
  # Appended to: a point that goes on keeps the log of its earlier runs.
  with open(place / "logs" / f"{point.name}.log", "ab") as log:
    code = run_together(line_here(point.job), layout, log, stopping.asked)
  # Only what ended well: the next command takes up the others again.
  if code == 0:
    mark_finished(place, point)
  said = {0: "done", EXIT_CODE: "stopped, and saved"}
  failed = f"ended with code {code}, see {log.name}"
  print(f"{point.name}: {said.get(code, failed)}", file=sys.stderr, flush=True)
  return code


def on_slurm(
  place: Path,
  points: Sequence[Point],
  layout: ProcessLayout,
  extra: Sequence[str],
  at_once: int,
) -> str:
  """The batch script of a SLURM array of points.

  Raises:
    ValueError: an option of sbatch is the sweep's own affair.
  """
  for option in extra:
    if sbatch_option(option)[0] in ("--array", "-a", "--wait", "-W"):
      raise ValueError(
        "sbatch: a sweep makes its array, and notes it without waiting for it,"
        f" got {option!r}; leave it out: --at_once says how many tasks run at"
        " the same time, squeue and --collect how far they are"
      )
  jobs = [point.job for point in points]
  return array_script(jobs, layout, place, extra, at_once)


def to_slurm(place: Path, points: Sequence[Point], text: str) -> int:
  """Queues a SLURM array and records the task of each point.

  Args:
    place: directory of the sweep, where the script stays to be read.
    points: of the array, in its order.
    text: of the script.

  Raises:
    ValueError: sbatch is not installed.
  """
  path = place / "sweep.sbatch"
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(text, encoding="utf-8")
  # --parsable prints `<job>` or `<job>;<cluster>`, and nothing else.
  command = ("sbatch", "--parsable", str(path))
  print(f"+ {shlex.join(command)}", file=sys.stderr, flush=True)

  try:
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
  except FileNotFoundError:
    raise ValueError(
      f"'sbatch' is not installed here; run sbatch {path} where it is"
    ) from None

  array = re.search(r"^\d+(;\S+)?$", done.stdout, re.MULTILINE)
  if array is not None:
    record_queued(place, points, array[0])

  said = f"queued as {array[0]}" if array else "sbatch named no array to note"
  print(said, file=sys.stderr)
  return done.returncode


def sky_files(
  job: Job, points: Sequence[Point], layout: ProcessLayout, *, spot: bool
) -> dict[Path, str]:
  """SkyPilot tasks, one a point; each marks itself finished in the bucket."""
  folder = ROOT / "runs" / "launch" / job.name
  finished = f"{job.directory.rstrip('/')}/finished"
  return {
    folder / f"{point.name}.sky.yaml": task(
      point.job, layout, spot=spot, finished=finished
    )
    for point in points
  }


def in_cloud(files: Mapping[Path, str], points: Sequence[Point]) -> int:
  """Queues SkyPilot tasks one by one, without waiting for them to run.

  Args:
    files: as `sky_files` makes them.
    points: one a file, in their order.

  Raises:
    ValueError: SkyPilot is not installed.
  """
  for (path, text), point in zip(files.items(), points, strict=True):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    name = f"--name={sky_name(point)}"
    # Without --detach-run it would follow the log until the job ends.
    command = ["sky", "jobs", "launch", "--yes", "--detach-run", name]
    try:
      done = subprocess.run([*command, str(path)], check=False)
    except FileNotFoundError:
      raise ValueError(
        "'sky' is not installed here: pip install 'skypilot[gcp]'"
      ) from None
    if done.returncode:
      return done.returncode

  return 0
