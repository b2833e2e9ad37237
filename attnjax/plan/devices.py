"""The devices of a machine, though none is here, and a mesh over them."""

import importlib.util
import math
import os
from collections.abc import Mapping
from typing import Any

import jax
from jax.experimental import mesh_utils, topologies
from jax.sharding import AxisType, Mesh

from attnjax.plan.gpu_target import target_config
from attnjax.plan.topology import Topology, nearest

__all__ = ["devices_of", "mesh_of"]


def devices_of(machine: Topology) -> list[Any]:
  """The devices, to compile for and not to run on.

  Args:
    machine: from `topology`.

  Raises:
    ImportError: the compiler for them is not installed.
    ValueError: of `cpu`, this process has fewer.
  """
  if machine.chip.platform == "cpu":
    here = jax.devices("cpu")
    if len(here) < machine.devices:
      raise ValueError(
        f"topology {machine.name}: this process has {len(here)} CPU devices;"
        " set XLA_FLAGS=--xla_force_host_platform_device_count="
        f"{machine.devices} before it starts"
      )
    return here[: machine.devices]
  return _tpus(machine) if machine.chip.platform == "tpu" else _gpus(machine)


def mesh_of(machine: Topology, axes: Mapping[str, int]) -> Mesh:
  """A mesh over the devices of a machine, neighbours on neighbouring links.

  Args:
    machine: from `topology`.
    axes: name -> devices, outermost first.

  Raises:
    ValueError: the sizes do not multiply to the devices of the machine.
    ImportError: the compiler for the machine is not installed.

  >>> from attnjax.plan.topology import topology
  >>> dict(mesh_of(topology("cpu:8"), {"data": 2, "tensor": 4}).shape)
  {'data': 2, 'tensor': 4}
  """
  product = math.prod(axes.values())
  if product != machine.devices:
    said = " x ".join(f"{axis}={size}" for axis, size in axes.items())
    raise ValueError(
      f"mesh: {said} = {product} devices do not fill the {machine.devices} of"
      f" {machine.name}; {_remedy(machine, axes, product)}"
    )
  devices = mesh_utils.create_device_mesh(
    tuple(axes.values()), devices_of(machine), allow_split_physical_axes=True
  )
  return Mesh(devices, tuple(axes), axis_types=(AxisType.Auto,) * len(axes))


def _remedy(machine: Topology, axes: Mapping[str, int], product: int) -> str:
  """One axis that could be changed, or the machine that would be filled."""
  for axis, size in axes.items():
    others = product // size
    if machine.devices % others == 0:
      return f"choose mesh.{axis}={machine.devices // others}"
  close = nearest(machine.chip, product)
  return f"choose divisors of {machine.devices}, or {close}"


def _tpus(machine: Topology) -> list[Any]:
  """The devices of a slice, from the compiler in the package libtpu."""
  if importlib.util.find_spec("libtpu") is None:
    raise ImportError(
      f"to compile for {machine.name} needs libtpu: pip install 'attnjax[tpu]'"
    )
  # Without these libtpu asks the network who it is, and lets one process at a
  # time have the chips, which here nobody wants.
  os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
  os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
  os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
  sides = machine.shape + (1,) * (3 - len(machine.shape))
  chip = machine.chip
  if chip.dimensions == 2:
    wrap = tuple(side == 16 for side in sides)
  else:
    wrap = (all(side % 4 == 0 for side in sides),) * 3
  # A v4 or v5p is one device of two cores; a TPU7x is two devices.
  mega = {"chip_config_name": "megacore"} if chip.name in ("v4", "v5p") else {}
  return topologies.get_topology_desc(
    platform="tpu",
    topology_name=machine.name,
    chips_per_host_bounds=(1, 1, 1) if math.prod(sides) == 1 else (2, 2, 1),
    wrap=wrap,
    **mega,
  ).devices


def _gpus(machine: Topology) -> list[Any]:
  """The devices of some machines of GPUs, from JAX's plugin for CUDA."""
  if importlib.util.find_spec("jax_cuda12_plugin") is None:
    raise ImportError(
      f"to compile for {machine.name} needs JAX's CUDA plugin: pip install"
      " 'attnjax[cuda]'"
    )
  os.environ.setdefault("JAX_SKIP_CUDA_CONSTRAINTS_CHECK", "1")
  (count,) = machine.shape
  hosts = max(count // machine.chip.host, 1)
  return topologies.get_topology_desc(
    platform="cuda",
    topology_name="",
    topology=f"1x{hosts}x{count // hosts}",
    target_config=target_config(machine.chip),
  ).devices
