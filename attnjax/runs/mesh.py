"""Config of a run's device mesh: sizes of its axes, and sharded attention."""

import dataclasses
import math

import jax
from jax.sharding import Mesh

from attnjax.config import Config, setting
from attnjax.parallel import make_mesh
from attnjax.training import AXES

__all__ = ["MeshConfig"]


@dataclasses.dataclass(frozen=True)
class MeshConfig(Config):
  """Sizes of the axes of a mesh; all 1 is one device.

  The product is the number of devices of all processes. A run may be resumed on
  another mesh: it decides where arrays are, and not their values.

  Raises:
    ValueError: a size is below 1, `data` below 0.

  >>> MeshConfig(data=2, tensor=4).axes(8)
  {'data': 2, 'fsdp': 1, 'tensor': 4, 'sequence': 1}
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
    # Without a sequence axis these two would be ignored silently.
    defaults = {"attention": "ring", "layout": "contiguous"}
    for name, value in defaults.items():
      if self.sequence == 1 and getattr(self, name) != value:
        raise ValueError(
          f"mesh.{name} must be {value!r} where mesh.sequence=1, for no tokens"
          f" are shared out, got {getattr(self, name)!r}; leave it out, or"
          " raise mesh.sequence"
        )

  def axes(self, devices: int, processes: int = 1) -> dict[str, int]:
    """Sizes of the axes on a number of devices; `data=0` takes the rest.

    Args:
      devices: of all processes.
      processes: of the run; for the error alone.

    Raises:
      ValueError: the sizes do not multiply to the number of devices.

    >>> MeshConfig(data=0, tensor=2).axes(8)
    {'data': 4, 'fsdp': 1, 'tensor': 2, 'sequence': 1}
    """
    # Checked here: `data=0` may leave a rest that no axis has.
    sizes = self._sizes(devices)
    if math.prod(sizes.values()) != devices:
      raise ValueError(_misfit(sizes, devices, processes))
    return sizes

  def make(self) -> Mesh | None:
    """The mesh, over every device of every process; None for one device.

    Its axes are automatic: the compiler inserts the communication, and a
    program computes the same on every mesh. Devices are in the order of their
    wiring, see `attnjax.parallel.make_mesh`.

    Raises:
      ValueError: the sizes do not multiply to the number of devices.

    >>> MeshConfig().make() is None
    True
    >>> dict(MeshConfig(data=0, tensor=2).make().shape)
    {'data': 4, 'fsdp': 1, 'tensor': 2, 'sequence': 1}
    """
    devices, processes = jax.device_count(), jax.process_count()
    # Of several devices one may be used alone, but not of several processes.
    if processes == 1 and math.prod(self._sizes(devices).values()) == 1:
      return None
    return make_mesh(jax.devices(), **self.axes(devices, processes))

  def _sizes(self, devices: int) -> dict[str, int]:
    """Sizes of the axes, whether or not they fit the devices."""
    sizes = {axis: getattr(self, axis) for axis in AXES}
    if not sizes["data"]:
      rest = math.prod(size for size in sizes.values() if size)
      # At least 1, for too few devices: the error that follows divides by it.
      sizes["data"] = max(devices // rest, 1)
    return sizes


def _misfit(sizes: dict[str, int], devices: int, processes: int) -> str:
  """Error message for a mesh of another size than the devices."""
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
