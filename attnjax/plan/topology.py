"""Machines by name: which exist, and the nearest to those that do not."""

import dataclasses
import difflib
import itertools
import math
import os

from attnjax.plan.hardware import CHIPS, Chip

__all__ = ["Topology", "nearest", "topology"]

# What is sold of the chips that are wired as a plane, and of the small cubes.
_PLANES = ((1, 1), (2, 2), (2, 4), (4, 4), (4, 8), (8, 8), (8, 16), (16, 16))
_SMALL_CUBES = ((2, 2, 1), (2, 2, 2), (2, 2, 4), (2, 4, 4))
_EDGES = tuple(range(4, 68, 4))  # longer ones are not looked for as neighbours


@dataclasses.dataclass(frozen=True)
class Topology:
  """A machine that exists: how many chips of which kind, and how wired.

  Args:
    chip: its devices.
    shape: chips along each side; of GPUs, their number.

  >>> topology("v5p:8x8x8").devices, topology("tpu7x:2x2x1").devices
  (512, 8)
  """

  chip: Chip
  shape: tuple[int, ...]

  @property
  def name(self) -> str:
    """As it is written: `v5p:8x8x8`."""
    return f"{self.chip.name}:{'x'.join(map(str, self.shape))}"

  @property
  def devices(self) -> int:
    """What JAX counts."""
    return math.prod(self.shape) * self.chip.devices


def topology(text: str) -> Topology:
  """The machine of a name, if there is such a one.

  Args:
    text: `v5e:4x4`, `v5p:8x8x8`: chips along each side of a slice of TPUs;
      `h100:8`: GPUs, eight a machine; `cpu:8`: devices of this process.

  Raises:
    ValueError: there is no such machine; names the nearest that there are.

  >>> topology("v5p:4x4x9")
  Traceback (most recent call last):
  ValueError: topology 'v5p:4x4x9': no such slice; the nearest are v5p:4x4x8
  (128 chips), v5p:4x4x12 (192 chips)
  """
  name, _, sides = text.partition(":")
  chip = _cpu() if name == "cpu" else CHIPS.get(name)
  if chip is None:
    close = difflib.get_close_matches(name.lower(), [*CHIPS, "cpu"], n=1)
    close = ["tpu7x"] if name.endswith("7x") else close
    near = f"; did you mean {close[0]}?" if close else ""
    raise ValueError(
      f"topology {text!r}: unknown chip {name!r}; there are"
      f" {', '.join([*CHIPS, 'cpu'])}{near}"
    )
  try:
    shape = tuple(int(side) for side in sides.split("x"))
  except ValueError:
    shape = ()
  if not shape or min(shape) < 1:
    example = {"tpu": "4x4x4" if chip.dimensions == 3 else "4x4"}
    raise ValueError(
      f"topology {text!r}: expected sizes after the colon, such as"
      f" {name}:{example.get(chip.platform, '8')}"
    )
  if not _exists(chip, shape):
    raise ValueError(
      f"topology {text!r}: no such slice; {_nearest(chip, shape)}"
    )
  return Topology(chip, shape)


def _cpu() -> Chip:
  """This machine: its memory, shared by all its devices; rates unknown."""
  memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
  return Chip(
    "cpu", "cpu", memory, 0.0, 0.0, 0.0, 0, 0.0, 1, 2**30, None, 2**30
  )


def _exists(chip: Chip, shape: tuple[int, ...]) -> bool:
  """Whether chips are sold in that shape."""
  if chip.platform != "tpu":
    (count, *more) = shape
    whole = count in (1, 2, 4) or count % chip.host == 0
    return not more and (chip.platform == "cpu" or whole)
  if chip.dimensions == 2:
    return shape in _PLANES
  cubes = len(shape) == 3 and list(shape) == sorted(shape)
  whole = cubes and all(side % 4 == 0 for side in shape)
  return shape in _SMALL_CUBES or (whole and math.prod(shape) <= chip.largest)


def _shapes(chip: Chip) -> list[tuple[int, ...]]:
  """The shapes there are, to look for the nearest among."""
  if chip.platform != "tpu":
    return [(count,) for count in (1, 2, 4, *range(8, 4097, 8))]
  if chip.dimensions == 2:
    return list(_PLANES)
  cubes = itertools.combinations_with_replacement(_EDGES, 3)
  return [*_SMALL_CUBES, *(c for c in cubes if math.prod(c) <= chip.largest)]


def _by_distance(chip: Chip, shape: tuple[int, ...]) -> list[tuple[int, ...]]:
  """The shapes there are, the most similar first: by sides and by chips."""
  size, sides = math.prod(shape), (1, 1, *sorted(shape))[-3:]

  def far(other: tuple[int, ...]) -> float:
    pairs = zip(sides, (1, 1, *other)[-3:], strict=True)
    apart = sum(abs(math.log(a / b)) for a, b in pairs)
    return apart + abs(math.log(math.prod(other) / size))

  return sorted(_shapes(chip), key=far)


def _nearest(chip: Chip, shape: tuple[int, ...]) -> str:
  """The same sides in the right order, or one smaller and one larger."""
  turned = tuple(sorted(shape))
  if shape != turned and _exists(chip, turned):
    return f"the sides are written in order: {_named(chip, turned)}"
  close = _by_distance(chip, shape)
  smaller = [c for c in close if math.prod(c) <= math.prod(shape)]
  larger = [c for c in close if math.prod(c) > math.prod(shape)]
  near = [_named(chip, c) for c in (*smaller[:1], *larger[:1])]
  return f"the nearest are {', '.join(near)}"


def _named(chip: Chip, shape: tuple[int, ...]) -> str:
  """A shape with its number of chips, where that does not say it already."""
  name = Topology(chip, shape).name
  return name if len(shape) == 1 else f"{name} ({math.prod(shape)} chips)"


def nearest(chip: Chip, devices: int) -> str:
  """The machine of a kind whose devices come nearest to a number.

  Args:
    chip: its kind.
    devices: how many are wanted.

  >>> nearest(CHIPS["v5e"], 12)
  'v5e:4x4 (16 chips)'
  """
  shape = (max(devices // chip.devices, 1),)
  apart = lambda c: abs(math.log(math.prod(c) / shape[0]))
  return _named(chip, min(_by_distance(chip, shape), key=apart))
