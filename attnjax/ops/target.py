"""The platform that a program is traced for, which sizes its tiles.

It is not always the one that Python runs on: a step may be compiled here for a
TPU that is elsewhere.
"""

import os

import jax

from attnjax.ops.explicit_axes import mesh_of

__all__ = ["cpu_threads", "target_device", "target_platform"]


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
    device = getattr(mesh, "abstract_device", None)  # None before jax 0.9
    if device is not None:
      return device.platform, device.device_kind

  default = getattr(jax.config, "jax_default_device", None)
  if default is None:
    default = jax.devices()[0]
  if isinstance(default, str):
    default = jax.devices(default)[0]
  return default.platform, default.device_kind


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
