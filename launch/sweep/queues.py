"""How the points of a sweep are run: here, as an array, in a cloud."""

import concurrent.futures
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from launch.job import ROOT, Job
from launch.layout import Layout
from launch.local.processes import line_here, run_together
from launch.place import check_place
from launch.sky.task import task
from launch.slurm.script import array_script
from launch.sweep.points import Point, mark_finished

__all__ = ["in_cloud", "on_slurm", "run_here", "sky_files"]


def run_here(
  place: Path, points: Sequence[Point], layout: Layout, at_once: int
) -> list[Point]:
  """Runs points on this machine; one that fails does not stop the others.

  Args:
    place: directory of the sweep; what a point prints is in `logs/`.
    points: what is left to do.
    layout: of each.
    at_once: points that run at the same time.

  Returns:
    The points that failed.
  """
  (place / "logs").mkdir(parents=True, exist_ok=True)

  def one(point: Point) -> int:
    with open(place / "logs" / f"{point.name}.log", "ab") as log:
      code = run_together(line_here(point.job), layout, log)
    if code == 0:
      mark_finished(place, point)
    said = "done" if code == 0 else f"ended with code {code}, see {log.name}"
    print(f"{point.name}: {said}", file=sys.stderr, flush=True)
    return code

  with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
    codes = list(pool.map(one, points))
  return [point for point, code in zip(points, codes, strict=True) if code]


def on_slurm(
  place: Path,
  points: Sequence[Point],
  layout: Layout,
  extra: Sequence[str],
  at_once: int,
) -> tuple[str, Path]:
  """The array of the points that are left, and the file it belongs into."""
  jobs = [point.job for point in points]
  text = array_script(jobs, layout, place, extra, at_once)
  return text, place / "sweep.sbatch"


def sky_files(
  job: Job, points: Sequence[Point], layout: Layout, *, spot: bool
) -> dict[Path, str]:
  """One task a point; each notes in the bucket that it is done."""
  folder = ROOT / "runs" / "launch" / job.name
  finished = f"{job.directory.rstrip('/')}/finished"
  return {
    folder / f"{point.name}.sky.yaml": task(
      point.job, layout, spot=spot, finished=finished
    )
    for point in points
  }


def in_cloud(files: dict[Path, str], job: Job) -> int:
  """Queues tasks of SkyPilot one after the other, and waits for none."""
  check_place(job.directory)
  for index, (path, text) in enumerate(files.items()):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    name = f"--name={job.name}-{index}"
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
