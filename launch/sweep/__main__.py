"""Runs an experiment for every combination of settings; compares results.

python -m launch.sweep --experiment=language_model --workdir=runs/rates \
    --sweep='optimizer.peak_learning_rate=1e-3,3e-3;model.depth=2,4'
"""

import dataclasses
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from absl import flags

from launch.command_line import run, show
from launch.job import ROOT, Job
from launch.paths import (
  check_bucket_of,
  with_absolute_paths,
  with_mounted_paths,
)
from launch.place import check_place, mirror
from launch.process_layout import (
  ProcessLayout,
  process_layout,
  require_platform,
)
from launch.sweep import queues
from launch.sweep.outcome import (
  metrics_of,
  names_of,
  outcome_table,
  plot,
  read_outcomes,
)
from launch.sweep.points import Point, axes_of, is_finished, points_of
from launch.sweep.queued import in_sky, in_slurm

# Of each option that not all take, who does.
_MEANT = {
  "submit": ("slurm", "sky"),
  "sbatch": ("slurm",),
  "spot": ("sky",),
  "at_once": ("local", "slurm"),
}


def define_own(values: flags.FlagValues) -> None:
  """Defines the flags of this launcher."""
  text: dict[str, Any] = {"flag_values": values}
  flags.DEFINE_string("sweep", "", "name=value,value;name=value,value", **text)
  flags.DEFINE_enum(
    "on", "local", ["local", "slurm", "sky"], "who runs the points", **text
  )
  flags.DEFINE_integer("at_once", 1, "points at the same time", 1, **text)
  flags.DEFINE_string("metric", None, "number of result.json to show", **text)
  flags.DEFINE_boolean("collect", False, "only show what came of it", **text)
  flags.DEFINE_multi_string("sbatch", [], "an option of sbatch", **text)
  flags.DEFINE_boolean("spot", False, "machines taken away at will", **text)


def program(job: Job, values: flags.FlagValues) -> int:
  """Checks all points, runs the unfinished ones, reports all."""
  _require_meaning(values)
  axes = axes_of(values.sweep)
  job = _placed(job)
  points = points_of(job, axes, _located(job, values.on))
  layouts = [
    process_layout(point.job, process_a_gpu=values.on == "slurm")
    for point in points
  ]
  place, left = _looked_up(job, points, values)
  code = 0
  if left and not values.collect:
    code = _run(job, left, layouts[0], values)
    if values.on != "local" or code > 1:  # queued, shown, or stopped
      return code

  _report(place, axes, points, values)
  return code


def _require_meaning(values: flags.FlagValues) -> None:
  """Refuses flags without effect for the chosen way to run."""
  for name, places in _MEANT.items():
    if values.on not in places and values[name].present and values[name].value:
      raise ValueError(
        f"{name}: means nothing with --on={values.on}, got"
        f" {values[name].value!r}; leave it out, or say"
        f" {' or '.join(f'--on={place}' for place in places)}"
      )


def _placed(job: Job) -> Job:
  """Returns the job with an absolute work directory."""
  place = job.place or f"runs/sweeps/{job.name}"
  if "://" not in place:
    place = str(Path(place).expanduser().resolve())
  return dataclasses.replace(job, place=place)


def _located(job: Job, on: str) -> Callable[[Job], Job]:
  """Returns the function that rewrites paths of a point for its machine."""
  if "://" not in job.place:
    return lambda point: with_absolute_paths(point, "all points")
  if on == "sky":
    return with_mounted_paths
  raise ValueError(
    f"workdir: --on={on} writes to a directory, got {job.place!r}; mount the"
    " bucket, or take --on=sky"
  )


def _looked_up(
  job: Job, points: list[Point], values: flags.FlagValues
) -> tuple[Path, list[Point]]:
  """Returns (local directory of results, unfinished points)."""
  place, known = Path(job.place), True
  if "://" in job.place:
    known = values.collect or values.submit  # looking costs a copy
    if known:
      place = mirror(job.place, ROOT / "runs" / "mirrors")
  left = [point for point in points if not is_finished(place, point)]
  state = f"{len(left)} left" if known else "--submit looks up what is done"
  print(f"{len(points)} points, {state}", file=sys.stderr, flush=True)
  return place, left


def _run(
  job: Job, left: list[Point], layout: ProcessLayout, values: flags.FlagValues
) -> int:
  """Runs or queues unfinished points, or shows what would run."""
  if values.on == "sky":
    return _in_cloud(job, left, layout, values)

  place = Path(job.place)
  if values.on == "local":
    check_place(job.place)
    free = _not_queued(left, in_slurm(place, left))
    return queues.run_here(place, free, layout, values.at_once)

  require_platform(layout, "SLURM", "cuda", "cpu")
  if values.submit:
    check_place(job.place)
    left = _not_queued(left, in_slurm(place, left))

  if not left:
    return 0

  text = queues.on_slurm(place, left, layout, values.sbatch, values.at_once)
  return queues.to_slurm(place, left, text) if values.submit else show(text)


def _in_cloud(
  job: Job, left: list[Point], layout: ProcessLayout, values: flags.FlagValues
) -> int:
  """Queues unfinished points by SkyPilot, or shows their tasks."""
  if values.submit:
    check_bucket_of(job.directory, [point.job for point in left])
    left = _not_queued(left, in_sky(left))
  files = queues.sky_files(job, left, layout, spot=values.spot)
  if not values.submit:
    return show("".join(f"--- # {p}\n{t}" for p, t in files.items()))
  return queues.in_cloud(files, left)


def _not_queued(left: list[Point], queued: Mapping[str, str]) -> list[Point]:
  """Points that are in no queue; prints where the others are."""
  for name, known in queued.items():
    print(f"{name}: still queued as {known}", file=sys.stderr, flush=True)
  return [point for point in left if point.name not in queued]


def _report(
  place: Path,
  axes: dict[str, tuple[str, ...]],
  points: list[Point],
  values: flags.FlagValues,
) -> None:
  """Prints and writes the results; an unknown metric raises last."""
  outcomes = read_outcomes(place, points)
  if not any(outcomes) and not any(is_finished(place, p) for p in points):
    raise ValueError(f"sweep: no point is done yet; see {_logs(place, values)}")

  known = values.metric in names_of(outcomes)
  metric = values.metric if known else None
  text = outcome_table(axes, points, outcomes, metric)
  (place / "sweep.md").write_text(text + "\n", encoding="utf-8")
  print(text)
  drawn = plot(place / "sweep.png", axes, points, outcomes, metric)
  print(drawn or "(no axis is of numbers, so nothing is drawn)", flush=True)
  if metric != values.metric:
    metrics_of(outcomes, values.metric)  # says which there are


def _logs(place: Path, values: flags.FlagValues) -> str:
  """Text that names the place of the points' logs."""
  if values.on == "sky" or "://" in values.workdir:
    return "'sky jobs queue', and 'sky jobs logs --name <job>'"
  if values.on == "slurm" or any(place.glob("slurm-*.out")):
    return f"squeue, and {place / 'slurm-<array>_<task>.out'}"
  return f"{place / 'logs'}/<point>.log"


if __name__ == "__main__":
  run(program, define_own)
