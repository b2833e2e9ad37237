"""A mesh of named axes over all devices of a run, chosen by flags."""

import dataclasses
import math

import jax
from jax.sharding import AxisType, Mesh

from attnjax.config import Config, setting

# Neighbours are on the last axes: the features of a layer speak most, and a
# ring of tokens sends while it computes only where every hop is one wire.
AXES = ("data", "fsdp", "tensor", "sequence")


@dataclasses.dataclass(frozen=True)
class MeshConfig(Config):
  """Over how many devices each thing is shared out; all 1 is one device.

  The product is the number of devices of all processes. A run may go on on
  another mesh: it decides where numbers are, and not what they are.

  Raises:
    ValueError: a size is below 1, `data` below 0.

  >>> MeshConfig(data=2, tensor=4).product
  8
  """

  data: int = setting(
    1,
    "devices that share out the rows of a batch; 0: all that are left",
    at_least=0,
    decides=False,
  )
  fsdp: int = setting(
    1,
    "devices that share out rows, and parameters and optimizer state too",
    at_least=1,
    decides=False,
  )
  tensor: int = setting(
    1,
    "devices that share out heads, features and words",
    at_least=1,
    decides=False,
  )
  sequence: int = setting(
    1, "devices that share out the tokens of a row", at_least=1, decides=False
  )
  layout: str = setting(
    "contiguous",
    "which tokens of a row a device of the sequence axis has",
    choices=("contiguous", "zigzag", "striped"),
    decides=False,
  )
  attention: str = setting(
    "ring",
    "how tokens that are shared out attend to each other",
    choices=("ring", "all_gather", "ulysses"),
    decides=False,
  )
  gather: bool = setting(
    True,
    "put the trained parameters whole on one device of every process, for what"
    " is asked of them then",
    decides=False,
  )

  def __post_init__(self):
    super().__post_init__()
    usual = {"attention": "ring", "layout": "contiguous"}
    for name, value in usual.items():
      if self.sequence == 1 and getattr(self, name) != value:
        raise ValueError(
          f"mesh.{name} must be {value!r} where mesh.sequence=1, for no tokens"
          f" are shared out, got {getattr(self, name)!r}; leave it out, or"
          " raise mesh.sequence"
        )

  @property
  def product(self) -> int:
    """Devices of the mesh; 0 where `data` is 0, which takes what is left."""
    return math.prod(getattr(self, axis) for axis in AXES)


def make_mesh(config: MeshConfig) -> Mesh | None:
  """The mesh of a config, over every device of every process.

  Its axes are automatic: the compiler moves what a computation needs, and a
  program means the same on every mesh.

  Args:
    config: the sizes of the axes.

  Returns:
    A mesh with the axes data, fsdp, tensor and sequence; None for one device.

  Raises:
    ValueError: the sizes do not multiply to the number of devices.

  >>> make_mesh(MeshConfig()) is None
  True
  >>> dict(make_mesh(MeshConfig(data=0, tensor=2)).shape)
  {'data': 4, 'fsdp': 1, 'tensor': 2, 'sequence': 1}
  """
  devices, processes = jax.device_count(), jax.process_count()
  sizes = {axis: getattr(config, axis) for axis in AXES}
  rest = math.prod(size for size in sizes.values() if size)
  if not sizes["data"]:
    sizes["data"] = max(devices // rest, 1)
  product = math.prod(sizes.values())
  if product == 1 and processes == 1:
    return None
  if product != devices:
    raise ValueError(_misfit(sizes, devices, processes))
  return jax.make_mesh(
    tuple(sizes.values()),
    tuple(sizes),
    axis_types=(AxisType.Auto,) * len(sizes),
    devices=jax.devices(),
  )


def _misfit(sizes: dict[str, int], devices: int, processes: int) -> str:
  """What is wrong with a mesh, and which one there could be."""
  product = math.prod(sizes.values())
  said = " x ".join(f"{axis}={size}" for axis, size in sizes.items())
  rest = product // sizes["data"]
  where = f" of {processes} processes" if processes > 1 else ""
  remedy = f"data={devices // rest}"
  if devices % rest:
    remedy = f"a product of the other axes that divides {devices}"
  return (
    f"mesh: expected sizes that multiply to the {devices} devices{where}, got"
    f" {said} = {product}; choose {remedy}, or data=0 for all that are left"
  )
