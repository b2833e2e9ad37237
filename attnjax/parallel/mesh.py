"""A mesh of named axes over all the devices that there are."""

import math
from collections.abc import Sequence

import jax
import numpy as np
from jax.sharding import AxisType, Mesh

from attnjax.parallel.wiring import in_rings

__all__ = ["make_mesh"]


def make_mesh(devices: Sequence | None = None, **axes: int) -> Mesh:
  """A mesh whose axes have names, in the order in which they are given.

  Neighbours on the last axis are the nearest, on a grid of TPUs one wire apart
  and in a ring where there is one: put the axis of `RingAttention` last. Axes
  are automatic: what is not said of an array's sharding, the compiler decides.

  Args:
    devices: to use; None is all that there are, on every process.
    **axes: how many devices each axis has.

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
  if not axes or any(not _is_size(n) for n in axes.values()):
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
  if ordered is None:
    return jax.make_mesh(shape, names, axis_types=automatic, devices=devices)
  grid = np.empty(len(ordered), object)
  grid[:] = ordered
  return Mesh(grid.reshape(shape), names, axis_types=automatic)


def _is_size(n) -> bool:
  """Whether it is a whole number from 1, of Python or of numpy."""
  return isinstance(n, (int, np.integer)) and int(n) >= 1
