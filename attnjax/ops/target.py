"""The platform that a program is traced for, which sizes its tiles.

It is not always the one that Python runs on: a step may be compiled here for a
TPU that is elsewhere.
"""

import concurrent.futures
import contextlib
import math
import os
from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import AbstractDevice, AbstractMesh, AxisType

from attnjax.ops.explicit_axes import mesh_of

__all__ = [
  "computed_here",
  "cpu_threads",
  "is_of_one_device",
  "target_device",
  "target_platform",
  "traced_for",
]

# Platform, kind and cores of devices, by the names that `traced_for` takes.
_DEVICES = {
  "cpu": ("cpu", "cpu", None),
  "tpu:v4": ("tpu", "TPU v4", 2),
  "tpu:v5e": ("tpu", "TPU v5 lite", 1),
  "tpu:v5p": ("tpu", "TPU v5", 2),
  "tpu:v6e": ("tpu", "TPU v6 lite", 1),
  "tpu:tpu7x": ("tpu", "TPU7x", 1),
  "gpu:a100": ("gpu", "NVIDIA A100-SXM4-80GB", None),
  "gpu:h100": ("gpu", "NVIDIA H100 80GB HBM3", None),
  "gpu:h200": ("gpu", "NVIDIA H200", None),
  "gpu:b200": ("gpu", "NVIDIA B200", None),
}


def target_platform(*arrays) -> str:
  """The platform of the program that is being traced, such as "tpu".

  The first of these that is known: the mesh in the types of the arrays (of
  explicit axes); the mesh of the context, as `jax.set_mesh` and `jax.shard_map`
  make it, which may be of devices that are not here; the device that JAX
  computes on by default.

  Args:
    *arrays: of the program, traced or not.

  >>> import jax, jax.numpy as jnp
  >>> target_platform(jnp.ones(3)) == jax.default_backend()
  True
  """
  return target_device(*arrays)[0]


def target_device(*arrays) -> tuple[str, str]:
  """The platform of the program being traced, and the kind of its devices.

  Args:
    *arrays: as of `target_platform`.

  >>> import jax, jax.numpy as jnp
  >>> target_device(jnp.ones(3)) == ("cpu", jax.devices()[0].device_kind)
  True
  """
  for mesh in (mesh_of(*arrays), jax.sharding.get_abstract_mesh()):
    device = getattr(mesh, "abstract_device", None)  # no mesh: None
    if device is not None:
      return device.platform, device.device_kind

  default = getattr(jax.config, "jax_default_device", None)
  if default is None:
    default = jax.devices()[0]
  if isinstance(default, str):
    default = jax.devices(default)[0]
  return default.platform, default.device_kind


def is_of_one_device() -> bool:
  """Whether the program being traced is surely of one device.

  One within `jax.shard_map` over all axes of its mesh is: each device has a
  program of its own. One that may be divided over devices by the compiler is
  not, and neither is one of which nothing is known, where there are several.

  >>> import jax
  >>> from jax.sharding import AbstractMesh, AxisType
  >>> mesh = AbstractMesh((4,), ("x",), axis_types=(AxisType.Auto,))
  >>> with traced_for("tpu:v5e"):
  ...   is_of_one_device()
  True
  >>> with jax.sharding.use_abstract_mesh(mesh):
  ...   is_of_one_device()
  False
  """
  mesh = jax.sharding.get_abstract_mesh()
  if mesh.empty:
    return jax.device_count() == 1
  axes = zip(mesh.axis_sizes, mesh.axis_types, strict=True)
  return math.prod(n for n, kind in axes if kind != AxisType.Manual) == 1


def traced_for(platform: str | None) -> contextlib.AbstractContextManager:
  """Within it, programs are traced for one device of a kind that is named.

  Args:
    platform: such as "tpu:v5e", "gpu:h100" or "cpu"; None changes nothing.

  Raises:
    ValueError: of another name.

  >>> with traced_for("tpu:v5e"):
  ...   target_device()
  ('tpu', 'TPU v5 lite')
  """
  if platform is None:
    return contextlib.nullcontext()
  if platform not in _DEVICES:
    raise ValueError(
      f"platform: expected one of {', '.join(_DEVICES)}, or None for the one"
      f" that programs are traced for now, got {platform!r}"
    )
  name, kind, cores = _DEVICES[platform]
  mesh = AbstractMesh(
    (1,),
    ("device",),
    axis_types=(AxisType.Auto,),
    abstract_device=AbstractDevice(kind, cores, name),
  )
  return jax.sharding.use_abstract_mesh(mesh)


def computed_here(function: Callable) -> Any:
  """The result of a function whose arrays are all known, while tracing.

  Within a mesh of devices that are not here JAX runs nothing, not even on the
  devices that are. A thread of its own knows of no mesh.

  Args:
    function: of no argument.

  >>> import jax
  >>> import jax.numpy as jnp
  >>> jax.jit(lambda x: computed_here(lambda: int(jnp.ones(3).sum())) * x)(2)
  Array(6, dtype=int32...)
  """
  here = {device.platform for device in jax.devices()}
  if jax.sharding.get_abstract_mesh().empty or target_platform() in here:
    with jax.ensure_compile_time_eval():
      return function()

  wide = jax.config.read("jax_enable_x64")

  def run():
    with jax.enable_x64(wide):
      return function()

  with concurrent.futures.ThreadPoolExecutor(1) as pool:
    return pool.submit(run).result()


def cpu_threads() -> int:
  """Threads that the operations of one CPU device are shared among.

  All devices of a process share the threads of its processors.

  >>> cpu_threads() >= 1
  True
  """
  if hasattr(os, "sched_getaffinity"):  # what `taskset` leaves
    threads = len(os.sched_getaffinity(0))
  else:
    threads = os.cpu_count() or 1
  return max(threads // jax.local_device_count(), 1)
