"""Device meshes whose last axis follows the links between TPU chips.

TPUs stand on a grid, each linked to its neighbours. In a ring whose every hop
is one link, a device sends while it computes; for a hop over several links the
TPU compiler makes the computation wait.
"""

import math
from collections.abc import Sequence

import jax
import numpy as np
from jax.sharding import AxisType, Mesh

__all__ = ["circuit", "in_rings", "make_mesh"]


def make_mesh(devices: Sequence | None = None, **axes: int) -> Mesh:
  """A mesh whose axes have names, in the order in which they are given.

  Neighbours on the last axis are the nearest: on a grid of TPUs they are one
  link apart, in a ring where there is one. Put the axis of `RingAttention`
  last. Axes are automatic: the compiler chooses each sharding that is not
  given.

  Args:
    devices: to use; None takes all of them, of every process.
    **axes: the number of devices of each axis, at least 1.

  Returns:
    The mesh.

  Raises:
    ValueError: if the axes do not multiply to the number of devices, or a
      device comes twice.

  >>> import jax
  >>> make_mesh(jax.devices()[:1], data=1, sequence=1).axis_names
  ('data', 'sequence')
  """
  devices = jax.devices() if devices is None else devices

  is_size = lambda n: isinstance(n, (int, np.integer)) and int(n) >= 1
  if not axes or not all(map(is_size, axes.values())):
    raise ValueError(
      f"make_mesh: give one axis or more, of sizes >= 1, got {axes}"
    )
  if len(set(devices)) < len(devices):
    raise ValueError(f"make_mesh: give each device once, got {devices}")
  if math.prod(axes.values()) != len(devices):
    product = " x ".join(f"{name} {n}" for name, n in axes.items())
    raise ValueError(
      f"make_mesh: {product} makes {math.prod(axes.values())} devices, there"
      f" are {len(devices)}; change an axis, or give devices=jax.devices()[:n];"
      " XLA_FLAGS=--xla_force_host_platform_device_count=8 makes eight of a CPU"
    )

  names, shape = tuple(axes), tuple(axes.values())
  automatic = (AxisType.Auto,) * len(axes)
  ordered = in_rings(devices, shape[-1])
  # No grid of TPUs, or no ring fits: JAX chooses the order.
  if ordered is None:
    return jax.make_mesh(shape, names, axis_types=automatic, devices=devices)

  # Not np.array: it would take a device that has a length for a sequence.
  grid = np.empty(len(ordered), object)
  grid[:] = ordered
  return Mesh(grid.reshape(shape), names, axis_types=automatic)


def circuit(rows: int, columns: int) -> list[tuple[int, int]]:
  """A Hamiltonian cycle of a grid: each place once, each step to a neighbour.

  It goes along the first row, then returns up and down the columns of the
  other rows.

  Args:
    rows: at least 2, or 1 of two columns.
    columns: at least 2; rows or columns must be even, or no cycle exists.

  Returns:
    (row, column) of each place, in order.

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
  """Devices ordered such that every `size` consecutive ones form a ring.

  Args:
    devices: of a TPU, with attribute `coords`; None is returned for others.
    size: devices of a ring.

  Returns:
    The devices, or None if they are not on a full grid, or the grid does not
    divide into rectangles of `size` places that have a cycle.
  """
  grid = _chip_grid(devices)
  if grid is None:
    return None

  # A rectangle a x b of even size has a cycle, if it is no line of over two.
  rows, columns = grid.shape
  fits = [
    (abs(a - size // a), a, size // a)
    for a in range(1, size + 1)
    if size % a == 0 and rows % a == 0 and columns % (size // a) == 0
    if size % 2 == 0 and (size == 2 or min(a, size // a) > 1)
  ]
  if not fits:
    return None

  _, a, b = min(fits)  # the squarest rectangle
  parts = grid.reshape(rows // a, a, columns // b, b).swapaxes(1, 2)
  walk = circuit(a, b)
  every = parts.reshape(-1, a, b)
  return [part[place] for part in every for place in walk]


def _chip_grid(devices: Sequence) -> np.ndarray | None:
  """The devices as rows and columns, linked neighbours beside each other."""
  if not all(hasattr(device, "coords") for device in devices):
    return None

  places = [tuple(device.coords) for device in devices]
  least, most = np.min(places, axis=0), np.max(places, axis=0)
  shape = tuple((most - least + 1).tolist())
  if len(set(places)) < math.prod(shape) or len(shape) != 3:
    return None
  if len(devices) > math.prod(shape):
    return None  # TPU v2 and v3 have two devices a chip, at equal coords

  cube = np.empty(shape, object)
  for device, place in zip(devices, places, strict=True):
    cube[tuple(np.subtract(place, least))] = device
  if shape[2] == 1:
    return cube[:, :, 0]

  # A cube becomes a sheet: its planes one after the other, every second one
  # reversed, so that chips which meet there are linked.
  cube[1::2] = cube[1::2, ::-1]
  return cube.reshape(-1, shape[2])
