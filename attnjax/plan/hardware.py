"""What the chips are: memory, arithmetic and wires of each, as published.

Figures are of one JAX device, which is half a chip of TPU7x and a whole chip
elsewhere. Peaks are dense (no sparsity). A wire is counted in one direction.

Reference:
  TPU: Google Cloud, "TPU v4", "TPU v5e", "TPU v5p", "TPU v6e" and "TPU7x",
  system architecture pages, 2026: peak, HBM, and the bandwidth between chips,
  which is 2 directions x links x what is here. The v4 link: Austin et al.,
  "How to Scale Your Model", 2025, part 2. Memory: what the compiler (libtpu
  0.0.42) leaves to a program, of v4 30.75 of 32 GiB; of TPU7x, all of it.
  Clocks: peak over the operations that the matrix units of a device start in a
  cycle; both are in JAX's `tpu_info`.
  NVIDIA: "A100 Tensor Core GPU", "H100 Tensor Core GPU", "H200 Tensor Core
  GPU" datasheets and the "DGX B200" datasheet; what the driver leaves of the
  memory, and the bandwidth of it: the target configurations of OpenXLA,
  `xla/backends/gpu/target_config/specs`; of the memory programs may have what
  XLA_PYTHON_CLIENT_MEM_FRACTION=0.95 gives them. Networks are those of the DGX
  systems: 200 Gbit/s a GPU for A100, 400 for the others.
"""

import dataclasses

__all__ = ["CHIPS", "Chip"]

GIB = 2**30
_OF_A_GPU = 0.95  # what JAX can be told to take; the driver needs some too


@dataclasses.dataclass(frozen=True)
class Chip:
  """One device of a kind.

  Args:
    name: as a topology names it.
    platform: "tpu", "cuda" or "cpu".
    memory: bytes of HBM that the system leaves.
    flops: bfloat16 multiplications and additions a second, at most.
    bandwidth: bytes a second between HBM and the device.
    link: bytes a second that one link to a neighbour carries, one way; of a
      GPU, that all of its NVLinks carry.
    dimensions: of the torus that the links make; 0 where a switch connects all.
    network: bytes a second a device to what the links do not reach; 0 where
      there is no such thing.
    devices: of JAX in one chip.
    host: devices that share a machine.
    clock: cycles a second of its matrix units; None where nobody counts them.
    largest: chips of one slice, or of one domain of NVLink.

  >>> CHIPS["v5p"].flops / CHIPS["v5p"].bandwidth > 100  # FLOP a byte
  True
  """

  name: str
  platform: str
  memory: int
  flops: float
  bandwidth: float
  link: float
  dimensions: int
  network: float
  devices: int
  host: int
  clock: float | None
  largest: int

  @property
  def title(self) -> str:
    """How people call it."""
    return self.name.upper() if self.platform == "cuda" else f"TPU {self.name}"

  @property
  def capacity(self) -> int:
    """Bytes of HBM that programs may fill: of a GPU, what JAX can be told."""
    share = _OF_A_GPU if self.platform == "cuda" else 1
    return int(share * self.memory)


def _tpu(
  name: str,
  gib: float,
  tera: float,
  giga: float,
  link: float,
  dimensions: int,
  largest: int,
  clock: float,
  devices: int = 1,
) -> Chip:
  """A TPU, from figures of a whole chip."""
  return Chip(
    name,
    "tpu",
    memory=int(gib * GIB / devices),
    flops=tera * 1e12 / devices,
    bandwidth=giga * 1e9 / devices,
    link=link * 1e9 / devices,
    dimensions=dimensions,
    network=0.0,  # of one slice; several are not planned
    devices=devices,
    host=4 * devices,
    clock=clock * 1e9,
    largest=largest,
  )


def _gpu(
  name: str, memory: int, tera: float, giga: float, link: float, network: float
) -> Chip:
  """A GPU of a DGX: eight in a machine, on one switch."""
  return Chip(
    name,
    "cuda",
    memory=memory,
    flops=tera * 1e12,
    bandwidth=giga * 1e9,
    link=link * 1e9,
    dimensions=0,
    network=network * 1e9 / 8,
    devices=1,
    host=8,
    clock=None,
    largest=8,
  )


CHIPS = {
  chip.name: chip
  for chip in (
    _tpu("v4", 30.75, 275.0, 1228.0, 45.0, 3, 4096, 1.05),
    _tpu("v5e", 15.75, 197.0, 819.0, 50.0, 2, 256, 1.503),
    _tpu("v5p", 95.74, 459.0, 2765.0, 100.0, 3, 6144, 1.751),
    _tpu("v6e", 31.25, 918.0, 1640.0, 100.0, 2, 256, 1.755),
    _tpu("tpu7x", 192.0, 2307.0, 7380.0, 100.0, 3, 9216, 2.203, devices=2),
    _gpu("a100", 85_100_068_864, 312.0, 2039.0, 300.0, 200.0),
    _gpu("h100", 84_942_979_072, 989.4, 3352.0, 450.0, 400.0),
    _gpu("h200", 151_397_597_184, 989.4, 4800.0, 450.0, 400.0),
    _gpu("b200", 191_514_411_008, 2250.0, 7672.0, 900.0, 400.0),
  )
}
