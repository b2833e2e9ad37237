"""Roofline of a step: seconds of its arithmetic, HBM traffic, collectives."""

import dataclasses
import warnings
from collections.abc import Sequence

import numpy as np
from jax.sharding import Mesh

from attnjax.moved import forward_names
from attnjax.plan.collectives import Collective
from attnjax.plan.costs import Costs
from attnjax.plan.topology import Topology

__all__ = ["Roofline", "roofline", "send_bandwidth"]


@dataclasses.dataclass(frozen=True)
class Roofline:
  """Seconds of one step on one device, each resource as if it were alone.

  Args:
    compute: matrix arithmetic at the published peak.
    memory: traffic with HBM at the published bandwidth.
    network: collectives at the published bandwidth of their links.
    compiler: the compiler's own estimate for its kernels, one after the other,
      collectives left out; None where it gives none.
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
    """The resource that takes longest."""
    return max(("compute", "memory", "network"), key=self.__getattribute__)

  @property
  def seconds_overlapped(self) -> float:
    """Seconds of a step if all resources overlap: a lower bound."""
    return max(self.compute, self.memory, self.network)

  @property
  def seconds_serial(self) -> float:
    """Seconds of a step if nothing overlaps."""
    # The compiler's estimate has overlap within a kernel, which is certain.
    kernels = self.compiler or self.compute + self.memory
    return max(kernels + self.network, self.seconds_overlapped)

  @property
  def best(self) -> float:
    """Deprecated: `seconds_overlapped`."""
    _warn("best", "seconds_overlapped")
    return self.seconds_overlapped

  @property
  def apart(self) -> float:
    """Deprecated: `seconds_serial`."""
    _warn("apart", "seconds_serial")
    return self.seconds_serial

  def utilisation(self, seconds: float) -> float:
    """Model-FLOP utilisation (MFU) of a step that takes so many seconds.

    Reference:
      Chowdhery et al. PaLM: Scaling Language Modeling with Pathways. 2022.
      arXiv:2204.02311, appendix B.
    """
    return self.model_flops / (self.peak * seconds)


def _warn(old: str, new: str) -> None:
  """Warns the reader of an old property, two frames up, of its new name."""
  warnings.warn(
    f"Roofline.{old} is deprecated: read Roofline.{new}",
    DeprecationWarning,
    stacklevel=3,
  )


def roofline(
  machine: Topology,
  mesh: Mesh,
  costs: Costs,
  exchanges: Sequence[Collective],
  model_flops: float,
) -> Roofline | None:
  """The roofline of a step; None on a CPU, whose rates nobody publishes.

  Args:
    machine: that the step was compiled for.
    mesh: over its devices.
    costs: from `costs`.
    exchanges: from `collectives`.
    model_flops: of the whole step, on all devices.

  >>> from attnjax.plan.costs import Costs
  >>> from attnjax.plan.topology import mesh_of, topology
  >>> machine = topology("cpu:1")
  >>> mesh = mesh_of(machine, {"data": 1})
  >>> roofline(machine, mesh, Costs(1.0, 1.0, 1.0, 0.0, {}), [], 1.0) is None
  True
  """
  chip = machine.chip
  if not chip.flops:
    return None

  # One after the other, each with its links for itself: `caveats` says so.
  network = 0.0
  for exchange in exchanges:
    if exchange.sent:
      network += exchange.sent / send_bandwidth(machine, mesh, exchange.axes)

  clocked = chip.clock is not None and costs.cycles > 0
  return Roofline(
    compute=costs.flops / chip.flops,
    memory=costs.bytes / chip.bandwidth,
    network=network,
    compiler=costs.cycles / (chip.clock or 1) if clocked else None,
    model_flops=model_flops / mesh.size,
    peak=chip.flops,
  )


def send_bandwidth(machine: Topology, mesh: Mesh, axes: Sequence[str]) -> float:
  """Bytes a second that a device can send to its group along mesh axes.

  On a torus, the links of each edge of the slice that the group spans: two
  where it is a whole ring, else one. On a switch, all NVLinks of a device;
  between hosts, its share of the network.

  Args:
    machine: whose links.
    mesh: over its devices.
    axes: of the mesh.
  """
  chip = machine.chip
  # The group of the first device stands for all: they are congruent.
  index = tuple(slice(None) if axis in axes else 0 for axis in mesh.axis_names)
  group = list(np.ravel(mesh.devices[index]))

  if chip.platform != "tpu":
    hosts = {device.id // chip.host for device in group}
    return chip.link if len(hosts) == 1 else chip.network

  places = np.array([device.coords for device in group])
  links = 0
  for dimension, edge in enumerate(machine.shape):
    spanned = len(set(places[:, dimension].tolist()))
    if spanned > 1:
      links += 2 if spanned == edge and machine.is_ring(edge) else 1

  # Two devices of one chip differ in no coordinate: they share its memory.
  return chip.link * links if links else chip.bandwidth


__getattr__ = forward_names(__name__)
