"""Machines by name (`v5e:4x4`), their devices, and a mesh over them.

None of it needs the machine: the devices can be compiled for, not run on.
"""

import dataclasses
import difflib
import importlib.util
import itertools
import math
import os
from collections.abc import Mapping, Sequence

import jax
from jax.experimental import mesh_utils, topologies
from jax.sharding import AxisType, Mesh

from attnjax.plan.hardware import CHIPS, Chip, gpu_target_config

__all__ = ["Topology", "devices_of", "mesh_of", "nearest", "topology"]

# Slices on sale of the chips that are wired as a plane, and the small cubes;
# larger cubes have edges that are multiples of 4.
_PLANES = ((1, 1), (2, 2), (2, 4), (4, 4), (4, 8), (8, 8), (8, 16), (16, 16))
_SMALL_CUBES = ((2, 2, 1), (2, 2, 2), (2, 2, 4), (2, 4, 4))
_EDGES = tuple(range(4, 68, 4))  # longer ones are not proposed as the nearest


@dataclasses.dataclass(frozen=True)
class Topology:
  """A machine that exists: how many chips of which kind, and their shape.

  Args:
    chip: figures of one device.
    shape: chips along each edge of the slice; of GPUs, their number.

  >>> topology("v5p:8x8x8").devices, topology("tpu7x:2x2x1").devices
  (512, 8)
  """

  chip: Chip
  shape: tuple[int, ...]

  @property
  def name(self) -> str:
    """As `topology` reads it: `v5p:8x8x8`."""
    return f"{self.chip.name}:{'x'.join(map(str, self.shape))}"

  @property
  def devices(self) -> int:
    """Number of JAX devices."""
    return math.prod(self.shape) * self.chip.devices

  def is_ring(self, edge: int) -> bool:
    """Whether the links along an edge of that many chips close to a ring."""
    if self.chip.dimensions == 2:
      return edge == 16
    # Of a cube, all edges have optical links that close them, or none has.
    return all(side % 4 == 0 for side in self.shape)


def topology(text: str) -> Topology:
  """Parses the name of a machine.

  Args:
    text: `v5e:4x4`, `v5p:8x8x8`: chips along each edge of a TPU slice;
      `h100:8`: GPUs, eight a host; `cpu:8`: devices of this process.

  Raises:
    ValueError: there is no such machine; names the nearest that there are.

  >>> topology("v5p:4x4x9")
  Traceback (most recent call last):
  ValueError: topology 'v5p:4x4x9': no such slice; the nearest are v5p:4x4x8
  (128 chips), v5p:4x4x12 (192 chips)
  """
  name, _, sides = text.partition(":")
  chip = _this_cpu() if name == "cpu" else CHIPS.get(name)
  if chip is None:
    close = difflib.get_close_matches(name.lower(), [*CHIPS, "cpu"], n=1)
    # People write v7x for what Google calls TPU7x.
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

  if not _is_offered(chip, shape):
    raise ValueError(
      f"topology {text!r}: no such slice; {_proposal(chip, shape)}"
    )
  return Topology(chip, shape)


def _this_cpu() -> Chip:
  """This host: its memory, shared by all CPU devices; its rates are unknown."""
  memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
  return Chip(
    "cpu", "cpu", memory, 0.0, 0.0, 0.0, 0, 0.0, 1, 2**30, None, 2**30
  )


def _is_offered(chip: Chip, shape: tuple[int, ...]) -> bool:
  """Whether machines of that shape can be rented or bought."""
  if chip.platform != "tpu":
    (count, *more) = shape
    full_hosts = count in (1, 2, 4) or count % chip.host == 0
    return not more and (chip.platform == "cpu" or full_hosts)

  if chip.dimensions == 2:
    return shape in _PLANES
  ordered = len(shape) == 3 and list(shape) == sorted(shape)
  whole = ordered and all(side % 4 == 0 for side in shape)
  return shape in _SMALL_CUBES or (whole and math.prod(shape) <= chip.largest)


def _by_distance(chip: Chip, shape: tuple[int, ...]) -> list[tuple[int, ...]]:
  """Shapes on offer, nearest first by logarithms of edges and of chips."""
  offered: list[tuple[int, ...]]
  if chip.platform != "tpu":
    offered = [(count,) for count in (1, 2, 4, *range(8, 4097, 8))]
  elif chip.dimensions == 2:
    offered = list(_PLANES)
  else:
    cubes = itertools.combinations_with_replacement(_EDGES, 3)
    fitting = (c for c in cubes if math.prod(c) <= chip.largest)
    offered = [*_SMALL_CUBES, *fitting]

  # Every shape as three edges, whatever it has.
  size, edges = math.prod(shape), (1, 1, *sorted(shape))[-3:]

  def distance(other: tuple[int, ...]) -> float:
    pairs = zip(edges, (1, 1, *other)[-3:], strict=True)
    apart = sum(abs(math.log(a / b)) for a, b in pairs)
    return apart + abs(math.log(math.prod(other) / size))

  return sorted(offered, key=distance)


def _proposal(chip: Chip, shape: tuple[int, ...]) -> str:
  """The same edges in order, or the nearest smaller and larger shape."""
  turned = tuple(sorted(shape))
  if shape != turned and _is_offered(chip, turned):
    return f"the sides are written in order: {_with_size(chip, turned)}"

  close = _by_distance(chip, shape)
  smaller = [c for c in close if math.prod(c) <= math.prod(shape)]
  larger = [c for c in close if math.prod(c) > math.prod(shape)]
  near = [_with_size(chip, c) for c in (*smaller[:1], *larger[:1])]
  return f"the nearest are {', '.join(near)}"


def _with_size(chip: Chip, shape: tuple[int, ...]) -> str:
  """Name of a shape and, where that is not the number of chips, that too."""
  name = Topology(chip, shape).name
  return name if len(shape) == 1 else f"{name} ({math.prod(shape)} chips)"


def nearest(chip: Chip, devices: int) -> str:
  """Name of the machine whose number of devices is nearest to the given one.

  Args:
    chip: its kind.
    devices: how many are wanted.

  >>> from attnjax.plan.hardware import CHIPS
  >>> nearest(CHIPS["v5e"], 12)
  'v5e:4x4 (16 chips)'
  """
  chips = max(devices // chip.devices, 1)
  apart = lambda shape: abs(math.log(math.prod(shape) / chips))
  return _with_size(chip, min(_by_distance(chip, (chips,)), key=apart))


def mesh_of(machine: Topology, axes: Mapping[str, int]) -> Mesh:
  """A mesh over the devices of a machine, neighbours on neighbouring links.

  Args:
    machine: from `topology`.
    axes: name -> devices, outermost first.

  Raises:
    ValueError: the sizes do not multiply to the devices of the machine.
    ImportError: the compiler for the machine is not installed.

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

  # The torus of a slice rarely has the sizes of the mesh: an axis of the mesh
  # may then take part of an edge.
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


def devices_of(machine: Topology) -> Sequence[jax.Device]:
  """JAX devices of a machine, to compile for and not to run on.

  Args:
    machine: from `topology`.

  Raises:
    ImportError: the compiler for them is not installed.
    ValueError: of `cpu`, this process has fewer.
  """
  if machine.chip.platform == "tpu":
    return _tpus(machine)
  if machine.chip.platform == "cuda":
    return _gpus(machine)

  here = jax.devices("cpu")
  if len(here) < machine.devices:
    raise ValueError(
      f"topology {machine.name}: this process has {len(here)} CPU devices;"
      " set XLA_FLAGS=--xla_force_host_platform_device_count="
      f"{machine.devices} before it starts"
    )
  return here[: machine.devices]


def _tpus(machine: Topology) -> Sequence[jax.Device]:
  """Devices of a TPU slice, from the compiler in the package libtpu."""
  if importlib.util.find_spec("libtpu") is None:
    raise ImportError(
      f"to compile for {machine.name} needs libtpu: pip install 'attnjax[tpu]'"
    )

  # Without these libtpu asks Google Cloud's metadata server which machine this
  # is, and lets one process at a time load it, as if that held the chips.
  os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
  os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
  os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")

  edges = machine.shape + (1,) * (3 - len(machine.shape))
  # A v4 or v5p is one device of two cores; a TPU7x is two devices.
  mega = machine.chip.name in ("v4", "v5p")
  return topologies.get_topology_desc(
    platform="tpu",
    topology_name=machine.name,
    chips_per_host_bounds=(1, 1, 1) if math.prod(edges) == 1 else (2, 2, 1),
    wrap=tuple(machine.is_ring(edge) for edge in edges),
    **({"chip_config_name": "megacore"} if mega else {}),
  ).devices


def _gpus(machine: Topology) -> Sequence[jax.Device]:
  """Devices of GPU hosts, from JAX's plugin for CUDA."""
  if importlib.util.find_spec("jax_cuda12_plugin") is None:
    raise ImportError(
      f"to compile for {machine.name} needs JAX's CUDA plugin: pip install"
      " 'attnjax[cuda]'"
    )

  # No check of the versions of CUDA's libraries: none need be installed.
  os.environ.setdefault("JAX_SKIP_CUDA_CONSTRAINTS_CHECK", "1")
  (count,) = machine.shape
  hosts = max(count // machine.chip.host, 1)
  return topologies.get_topology_desc(
    platform="cuda",
    topology_name="",
    topology=f"1x{hosts}x{count // hosts}",
    target_config=gpu_target_config(machine.chip),
  ).devices
