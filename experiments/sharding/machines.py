"""The devices of a machine: CPU devices here, or TPUs that are not here."""

import importlib.util
import math
import os
from collections.abc import Sequence

import jax

__all__ = ["devices", "size"]


def size(machine: str) -> int:
  """How many devices a machine has.

  >>> size("cpu:8"), size("v5e:4x4")
  (8, 16)
  """
  return math.prod(map(int, machine.split(":")[1].split("x")))


def devices(machine: str) -> Sequence:
  """The devices of a machine, to compile for.

  Raises:
    ValueError: if this process has fewer CPU devices.
    ImportError: if libtpu is missing.
  """
  kind, count = machine.split(":")[0], size(machine)
  if kind != "cpu":
    return _slice(machine)
  found = jax.devices("cpu")
  if len(found) < count:
    raise ValueError(
      f"machines: {machine!r} takes {count} devices, this process has"
      f" {len(found)}; set XLA_FLAGS=--xla_force_host_platform_device_count=8"
    )
  return found[:count]


def _slice(machine: str) -> Sequence:
  """The devices of a slice of TPUs, as its compiler describes them."""
  if importlib.util.find_spec("libtpu") is None:
    raise ImportError(
      f"machines: {machine!r} needs the compiler for TPUs: pip install libtpu"
    )
  # Or libtpu looks for the TPUs of this host, and for their coordinator.
  os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
  os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
  from jax.experimental import topologies

  found = topologies.get_topology_desc(platform="tpu", topology_name=machine)
  return found.devices
