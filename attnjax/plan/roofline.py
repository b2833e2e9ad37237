"""How long a step takes at least, by what it computes, moves and tells."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jax.sharding import Mesh

from attnjax.plan.collectives import Collective
from attnjax.plan.costs import Costs
from attnjax.plan.topology import Topology

__all__ = ["Roofline", "roofline", "wires"]


@dataclasses.dataclass(frozen=True)
class Roofline:
  """Seconds of one step on one device, each as if it were alone.

  Args:
    compute: matrix arithmetic at the published peak.
    memory: traffic with HBM at the published bandwidth.
    network: collectives at the published bandwidth of their wires.
    compiler: what the compiler thinks its kernels take, one after the other,
      collectives left out; None where it does not say.
    model_flops: arithmetic of the model itself, per device.
    peak: multiplications and additions a second, per device.

  >>> Roofline(2.0, 1.0, 0.5, None, 3.0, 3.0).bound
  'compute'
  """

  compute: float
  memory: float
  network: float
  compiler: float | None
  model_flops: float
  peak: float

  @property
  def bound(self) -> str:
    """What takes longest."""
    return max(("compute", "memory", "network"), key=self.__getattribute__)

  @property
  def best(self) -> float:
    """Seconds, if all three overlap wholly: no step is faster."""
    return max(self.compute, self.memory, self.network)

  @property
  def apart(self) -> float:
    """Seconds, if nothing overlaps; kernels as the compiler thinks."""
    kernels = self.compiler or self.compute + self.memory
    return max(kernels + self.network, self.best)

  def utilisation(self, seconds: float) -> float:
    """The model-FLOP utilisation of a step that takes so long.

    Reference:
      Chowdhery et al. PaLM: Scaling Language Modeling with Pathways. 2022.
      arXiv:2204.02311, appendix B.
    """
    return self.model_flops / (self.peak * seconds)


def roofline(
  machine: Topology,
  mesh: Mesh,
  costs: Costs,
  exchanges: Sequence[Collective],
  model_flops: float,
) -> Roofline | None:
  """The roofline of a step; None on a CPU, whose rates nobody publishes.

  Args:
    machine: what it was compiled for.
    mesh: over its devices.
    costs: from `costs`.
    exchanges: from `collectives`.
    model_flops: of the whole step, on all devices.

  >>> from attnjax.plan.devices import mesh_of
  >>> from attnjax.plan.topology import topology
  >>> machine = topology("cpu:1")
  >>> mesh = mesh_of(machine, {"data": 1})
  >>> roofline(machine, mesh, Costs(1.0, 1.0, 1.0, 0.0, {}), [], 1.0) is None
  True
  """
  chip = machine.chip
  if not chip.flops:
    return None
  seconds = 0.0
  for exchange in exchanges:
    if exchange.sent:
      seconds += exchange.sent / wires(machine, mesh, exchange.axes)
  clocked = chip.clock is not None and costs.cycles > 0
  return Roofline(
    compute=costs.flops / chip.flops,
    memory=costs.bytes / chip.bandwidth,
    network=seconds,
    compiler=costs.cycles / (chip.clock or 1) if clocked else None,
    model_flops=model_flops / mesh.size,
    peak=chip.flops,
  )


def wires(machine: Topology, mesh: Mesh, axes: Sequence[str]) -> float:
  """Bytes a second that a device can send along axes of the mesh.

  On a torus, both links of each side that the axes wind round: both ways round
  a ring, one way along a line that is not closed. On a switch, all that a
  device has; between machines, its network.

  Args:
    machine: whose wires.
    mesh: over its devices.
    axes: of the mesh.
  """
  chip = machine.chip
  group = _group(mesh, axes)
  if chip.platform != "tpu":
    machines = {device.id // chip.host for device in group}
    return chip.link if len(machines) == 1 else chip.network
  places = np.array([device.coords for device in group])
  links = 0
  for side, length in enumerate(machine.shape):
    met = len(set(places[:, side].tolist()))
    if met > 1:
      links += 2 if met == length and _closed(machine, length) else 1
  # Two devices of one chip differ in no coordinate: they share its memory.
  return chip.link * links if links else chip.bandwidth


def _closed(machine: Topology, length: int) -> bool:
  """Whether the links of a side of that length make a ring."""
  if machine.chip.dimensions == 2:
    return length == 16
  return all(side % 4 == 0 for side in machine.shape)


def _group(mesh: Mesh, axes: Sequence[str]) -> list:
  """The devices that differ from the first along the axes alone."""
  index = tuple(slice(None) if axis in axes else 0 for axis in mesh.axis_names)
  return list(np.ravel(mesh.devices[index]))
