"""Points that are still in a queue, so that none is queued twice."""

import hashlib
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

from launch.sweep.points import Point

__all__ = ["in_sky", "in_slurm", "record_queued", "sky_name"]

# %F is the id of an array and %K the index of a task: `17_3`.
_SQUEUE = ("squeue", "--noheader", "--array", "--format=%F_%K")
_SKY = ("sky", "jobs", "queue", "--all", "--all-users", "--skip-finished")


def record_queued(place: Path, points: Sequence[Point], array: str) -> None:
  """Writes which task of a SLURM array each point is.

  Args:
    place: directory of the sweep.
    points: of the array, in its order.
    array: what `sbatch --parsable` printed: `17`, or `17;cluster`.
  """
  folder = place / "queued"
  folder.mkdir(parents=True, exist_ok=True)
  job, separator, cluster = array.partition(";")
  for index, point in enumerate(points):
    text = f"{job}_{index}{separator}{cluster}\n"
    (folder / point.name).write_text(text, encoding="utf-8")


def in_slurm(place: Path, points: Sequence[Point]) -> dict[str, str]:
  """Points that wait or run in a SLURM array, with their tasks.

  squeue is called only if a point was recorded as queued.

  Args:
    place: directory of the sweep.
    points: those that are looked for.

  Raises:
    ValueError: SLURM does not answer.
  """
  # One file a point: `<job>_<task>`, or `<job>_<task>;<cluster>`.
  paths = [place / "queued" / point.name for point in points]
  noted = {p.name: p.read_text().strip() for p in paths if p.exists()}
  # One squeue for each cluster, for job ids are unique only within one.
  jobs: dict[str, set[str]] = {}
  for text in noted.values():
    task, _, cluster = text.partition(";")
    jobs.setdefault(cluster, set()).add(task.partition("_")[0])
  known = {one for c, ids in jobs.items() for one in _tasks(c, ids, place)}
  return {name: text for name, text in noted.items() if text in known}


def _tasks(cluster: str, jobs: set[str], place: Path) -> set[str]:
  """Tasks of SLURM arrays that wait or run, as `squeue` names them."""
  where = (f"--clusters={cluster}",) if cluster else ()
  ids = ",".join(sorted(jobs))
  code, out, err = _asked(*_SQUEUE, *where, f"--jobs={ids}")
  if code and "Invalid job id" in err:  # of one that ended long ago
    return set()
  if code:
    raise ValueError(
      f"workdir: points in {place} were queued as {ids}, and squeue cannot be"
      f" asked whether they still are: {_last(err)}; come where SLURM answers,"
      f" or delete {place / 'queued'} if all of them have ended"
    )

  return {f"{task};{cluster}" if cluster else task for task in out.split()}


def sky_name(point: Point) -> str:
  """SkyPilot's name of the job of a point, the same for every command.

  Args:
    point: of a sweep in a bucket.
  """
  # Of the whole address: two sweeps may have points of the same name.
  digest = hashlib.sha256(point.job.directory.encode()).hexdigest()
  return f"{point.job.name}-{digest[:10]}"


def in_sky(points: Sequence[Point]) -> dict[str, str]:
  """Points that wait or run as SkyPilot managed jobs, with job names.

  Args:
    points: those that are looked for.

  Raises:
    ValueError: SkyPilot does not answer.
  """
  code, out, err = _asked(*_SKY, "--output=json")
  # So it says, and fails, where the machine that has the queue was never
  # started, or stopped by itself because nothing was left to do.
  if code and "No in-progress managed jobs" in out + err:
    return {}

  try:
    if code:
      raise ValueError(_last(err or out))
    names = {job["job_name"] for job in json.loads(out)}
  except (KeyError, TypeError, ValueError) as error:
    raise ValueError(
      "on: 'sky jobs queue' cannot be asked which points are queued already:"
      f" {error}; see 'sky api status', or pip install -U 'skypilot[gcp]>=0.14'"
    ) from None

  named = {point.name: sky_name(point) for point in points}
  return {point: name for point, name in named.items() if name in names}


def _asked(*command: str) -> tuple[int, str, str]:
  """(exit code, stdout, stderr) of a program; 127 if it is missing."""
  try:
    done = subprocess.run(
      command, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
  except FileNotFoundError:
    return 127, "", f"{command[0]!r} is not installed here"
  return done.returncode, done.stdout, done.stderr


def _last(text: str) -> str:
  """The last line of a program's output."""
  return (text.strip().splitlines() or ["it gives no reason"])[-1]
