"""A mesh of named axes over all the devices that there are."""

import math
from collections.abc import Sequence

import jax
from jax.sharding import AxisType, Mesh

__all__ = ["make_mesh"]


def make_mesh(devices: Sequence | None = None, **axes: int) -> Mesh:
  """A mesh whose axes have names, in the order in which they are given.

  Neighbours on the last axis are the nearest: put what talks most there. Axes
  are automatic: what is not said of an array's sharding, the compiler decides.

  Args:
    devices: to use; None is all that there are, on every process.
    **axes: how many devices each axis has.

  Returns:
    The mesh.

  Raises:
    ValueError: if the axes do not multiply to the number of devices.

  >>> make_mesh(jax.devices()[:1], data=1, sequence=1).axis_names
  ('data', 'sequence')
  """
  devices = jax.devices() if devices is None else devices
  if any(not isinstance(n, int) or n < 1 for n in axes.values()):
    raise ValueError(f"make_mesh: axes must have sizes >= 1, got {axes}")
  if math.prod(axes.values()) != len(devices):
    shape = " x ".join(f"{name} {n}" for name, n in axes.items()) or "no axis"
    raise ValueError(
      f"make_mesh: {shape} makes {math.prod(axes.values())} devices, there are"
      f" {len(devices)}; change an axis, or give devices=jax.devices()[:n]; on"
      " a CPU XLA_FLAGS=--xla_force_host_platform_device_count=8 makes eight"
    )
  return jax.make_mesh(
    tuple(axes.values()),
    tuple(axes),
    axis_types=(AxisType.Auto,) * len(axes),
    devices=devices,
  )
