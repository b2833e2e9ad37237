"""Runs an experiment with many values, and compares what came of them.

python -m launch.sweep --experiment=language_model --workdir=runs/rates \
    --sweep='optimizer.peak_learning_rate=1e-3,3e-3;model.depth=2,4'
"""

import dataclasses
import sys
from pathlib import Path
from typing import Any

from absl import flags

from launch.command_line import queue, run, show
from launch.job import ROOT, Job
from launch.layout import Layout, layout_of, require_platform
from launch.place import check_place, mirror
from launch.sweep import queues
from launch.sweep.outcome import outcome_table, plot, read_outcomes
from launch.sweep.points import Point, axes_of, is_finished, points_of


def own(values: flags.FlagValues) -> None:
  """What a sweep alone wants to know."""
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
  """Checks every point, runs those that are left, shows all."""
  axes = axes_of(values.sweep)
  if not job.place:
    job = dataclasses.replace(job, place=f"runs/sweeps/{job.name}")
  if "://" not in job.place:
    where = str(Path(job.place).expanduser().resolve())
    job = dataclasses.replace(job, place=where)
  points = points_of(job, axes)
  layouts = [
    layout_of(point.job, process_a_gpu=values.on == "slurm") for point in points
  ]
  place = Path(job.place)
  if "://" in job.place and (values.collect or values.submit):
    place = mirror(job.place, ROOT / "runs" / "mirrors" / job.name)
  left = [point for point in points if not is_finished(place, point)]
  print(f"{len(points)} points, {len(left)} left", file=sys.stderr, flush=True)
  if left and not values.collect:
    code = _run(job, left, layouts[0], values)
    if values.on != "local":
      return code
  else:
    code = 0
  outcomes = read_outcomes(place, points)
  text = outcome_table(axes, points, outcomes, values.metric)
  (place / "sweep.md").write_text(text + "\n", encoding="utf-8")
  print(text)
  drawn = plot(place / "sweep.png", axes, points, outcomes, values.metric)
  print(drawn or "(no axis is of numbers, so nothing is drawn)")
  return code


def _run(
  job: Job, left: list[Point], layout: Layout, values: flags.FlagValues
) -> int:
  """Runs or queues the points that are left, or shows what would be."""
  if values.on == "sky":
    files = queues.sky_files(job, left, layout, spot=values.spot)
    if not values.submit:
      return show("".join(f"--- # {p}\n{t}" for p, t in files.items()))
    return queues.in_cloud(files, job)
  if "://" in job.place:
    raise ValueError(
      f"workdir: --on={values.on} writes to a directory, got {job.place!r};"
      " mount the bucket, or take --on=sky"
    )
  if values.on == "slurm":
    require_platform(layout, "SLURM", "cuda", "cpu")
    text, path = queues.on_slurm(
      Path(job.place), left, layout, values.sbatch, values.at_once
    )
    if not values.submit:
      return show(text)
    check_place(job.place)
    return queue(path, text, "sbatch", str(path))
  check_place(job.place)
  failed = queues.run_here(Path(job.place), left, layout, values.at_once)
  return 1 if failed else 0


if __name__ == "__main__":
  run(program, own)
