"""Points of a sweep: every combination of values, each a job."""

import dataclasses
import itertools
import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

from launch.job import Job, config_of

__all__ = ["Point", "axes_of", "is_finished", "mark_finished", "points_of"]


@dataclasses.dataclass(frozen=True)
class Point:
  """One job of a sweep.

  Args:
    values: the value of each axis, as text, in the order of the axes.
    job: what runs; its place is named for the values, settings in the order
      of the alphabet.
  """

  values: tuple[str, ...]
  job: Job

  @property
  def name(self) -> str:
    """The last part of its directory."""
    return self.job.place.rsplit("/", 1)[-1]


def axes_of(text: str) -> dict[str, tuple[str, ...]]:
  """Parses the axes of a sweep: setting -> values.

  Args:
    text: `name=value,value;name=value,value`.

  Raises:
    ValueError: an axis has no name, no value, or comes twice.

  >>> axes_of("optimizer.floor=0.1,0.2;model.depth=4,8")
  {'optimizer.floor': ('0.1', '0.2'), 'model.depth': ('4', '8')}
  """
  axes: dict[str, tuple[str, ...]] = {}
  for part in filter(None, (part.strip() for part in text.split(";"))):
    name, _, listed = part.partition("=")
    name = name.strip().removeprefix("--").removeprefix("config.")
    values = tuple(value.strip() for value in listed.split(","))
    if not name or not all(values) or len(set(values)) < len(values):
      raise ValueError(
        f"sweep: expected name=value,value with values that differ, got"
        f" {part!r}; put ; between names, and quote the whole for the shell"
      )
    if name in axes:
      raise ValueError(
        f"sweep: {name} comes twice; put all of its values behind one name"
      )
    axes[name] = values

  if not axes:
    raise ValueError(
      "sweep: expected name=value,value, got nothing; add"
      " --sweep='seed=0,1,2', for instance"
    )

  return axes


def points_of(
  job: Job,
  axes: dict[str, tuple[str, ...]],
  located: Callable[[Job], Job] = lambda job: job,
) -> list[Point]:
  """Every combination of values as a point, its config checked.

  Args:
    job: what all have in common; its place holds theirs.
    axes: name -> values.
    located: makes paths mean the same where a job runs; a point keeps the name
      that its values give it.

  Raises:
    ValueError: a setting that does not exist, a value that does not fit, a
      name that is overridden and swept, or two points of one name.
  """
  fixed = {override.partition("=")[0] for override in job.overrides}
  if both := sorted(fixed & axes.keys()):
    raise ValueError(
      f"sweep: {both[0]} is swept and overridden; take --config.{both[0]} away"
    )

  points = []

  for values in itertools.product(*axes.values()):
    # In one order however the axes are written: names and flags are the same.
    own = tuple(f"{n}={v}" for n, v in sorted(zip(axes, values, strict=True)))
    place = f"{job.directory.rstrip('/')}/{_named(own)}"
    overrides = (*job.overrides, *own)
    one = dataclasses.replace(job, overrides=overrides, place=place)
    config_of(one)  # raises for a value that does not fit
    points.append(Point(values, located(one)))

  names = [point.name for point in points]
  if len(set(names)) < len(names):
    raise ValueError(
      "sweep: two points have one name, for values differ in punctuation alone"
    )

  return points


def is_finished(place: Path, point: Point) -> bool:
  """Whether a point has finished with the same settings.

  Args:
    place: directory of the sweep, or its mirror.
    point: of the sweep.

  Raises:
    ValueError: it was done with other flags.
  """
  path = place / "finished" / point.name
  if not path.exists():
    return False

  asked = shlex.join(point.job.asked())
  was = path.read_bytes().decode().strip()
  if was != asked:
    raise ValueError(
      f"sweep: {point.name} in {place} was done as {was!r}, and is asked for"
      f" as {asked!r}; name another --workdir, or delete {path}"
    )

  return True


def mark_finished(place: Path, point: Point) -> None:
  """Writes the mark of a finished point, with its settings."""
  path = place / "finished" / point.name
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(shlex.join(point.job.asked()) + "\n", encoding="utf-8")


def _named(overrides: Sequence[str]) -> str:
  """A name that is valid on every file system."""
  return "_".join(re.sub(r"[^\w.=+-]", "-", text) for text in overrides)
