"""The order of chips in which a ring of them is wired.

TPUs stand on a grid, each wired to its neighbours. A ring whose every hop is
one wire sends while it computes; for one that has to jump, the compiler for
TPUs makes the computation wait.
"""

import math
from collections.abc import Sequence

import numpy as np

__all__ = ["circuit", "in_rings"]


def circuit(rows: int, columns: int) -> list[tuple[int, int]]:
  """A closed walk through a grid, each place once, each step to a neighbour.

  Along the first row, and back up and down the columns of the others.

  Args:
    rows: at least 2, or 1 of two columns.
    columns: at least 2; one of the two is even.

  >>> circuit(2, 4)
  [(0, 0), (0, 1), (0, 2), (0, 3), (1, 3), (1, 2), (1, 1), (1, 0)]
  """
  if columns % 2:
    return [(row, column) for column, row in circuit(columns, rows)]
  walk = [(0, column) for column in range(columns)]
  for turn, column in enumerate(reversed(range(columns))):
    down = list(range(1, rows))
    walk += [(row, column) for row in (down[::-1] if turn % 2 else down)]
  return walk


def in_rings(devices: Sequence, size: int) -> list | None:
  """Devices in an order in which each so many, one after the other, are a ring.

  None where they are not on a grid, or it has no such parts.
  """
  grid = _grid(devices)
  if grid is None:
    return None
  rows, columns = grid.shape
  fits = [
    (abs(a - size // a), a, size // a)
    for a in range(1, size + 1)
    if size % a == 0 and rows % a == 0 and columns % (size // a) == 0
    if size % 2 == 0 and (size == 2 or min(a, size // a) > 1)
  ]
  if not fits:
    return None
  _, a, b = min(fits)  # the squarest part
  parts = grid.reshape(rows // a, a, columns // b, b).swapaxes(1, 2)
  walk = circuit(a, b)
  every = parts.reshape(-1, a, b)
  return [part[place] for part in every for place in walk]


def _grid(devices: Sequence) -> np.ndarray | None:
  """The devices as rows and columns, neighbours beside each other."""
  if not all(hasattr(device, "coords") for device in devices):
    return None
  places = [tuple(device.coords) for device in devices]
  least, most = np.min(places, axis=0), np.max(places, axis=0)
  shape = tuple((most - least + 1).tolist())
  if len(set(places)) < math.prod(shape) or len(shape) != 3:
    return None
  if len(devices) > math.prod(shape):
    return None  # several on a chip
  cube = np.empty(shape, object)
  for device, place in zip(devices, places, strict=True):
    cube[tuple(np.subtract(place, least))] = device
  if shape[2] == 1:
    return cube[:, :, 0]
  # A cube is a sheet: its planes laid out as one line, to and fro.
  cube[1::2] = cube[1::2, ::-1]
  return cube.reshape(-1, shape[2])
