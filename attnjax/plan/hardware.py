"""Figures of the chips, as published: memory, arithmetic and links.

Figures are of one JAX device, which is half a chip of TPU7x and a whole chip
elsewhere. Peaks are dense (no sparsity). A link is counted in one direction.

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

__all__ = ["CHIPS", "GIB", "Chip", "gpu_target_config"]

GIB = 2**30
_JAX_SHARE_OF_GPU = 0.95  # the most JAX can preallocate: the driver needs some


@dataclasses.dataclass(frozen=True)
class Chip:
  """Figures of one JAX device.

  Args:
    name: as a topology names it.
    platform: "tpu", "cuda" or "cpu".
    memory: bytes of HBM that the system leaves.
    flops: bfloat16 multiplications and additions a second, at most.
    bandwidth: bytes a second between HBM and the device.
    link: bytes a second, one way, of one link to a neighbour; of a GPU, of all
      its NVLinks together.
    dimensions: of the torus that the links make; 0 where a switch connects all.
    network: bytes a second and device between hosts; 0 where there is none.
    devices: JAX devices in one chip.
    host: devices of one host.
    clock: cycles a second of its matrix units; None for a GPU or CPU, whose
      compiler estimates no cycles.
    largest: chips of the largest slice, or of one NVLink domain.

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
    """Name for people: `H100`, `TPU v5e`."""
    return self.name.upper() if self.platform == "cuda" else f"TPU {self.name}"

  @property
  def capacity(self) -> int:
    """Bytes of HBM that a JAX program may fill."""
    share = _JAX_SHARE_OF_GPU if self.platform == "cuda" else 1
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
  """A TPU, from the figures of a whole chip: GiB, TFLOP/s, GB/s, GHz."""
  return Chip(
    name,
    "tpu",
    memory=int(gib * GIB / devices),
    flops=tera * 1e12 / devices,
    bandwidth=giga * 1e9 / devices,
    link=link * 1e9 / devices,
    dimensions=dimensions,
    network=0.0,  # plans are of one slice: nothing goes between slices
    devices=devices,
    host=4 * devices,
    clock=clock * 1e9,
    largest=largest,
  )


def _gpu(
  name: str, memory: int, tera: float, giga: float, link: float, network: float
) -> Chip:
  """A GPU of a DGX: eight a host, on one switch; `network` in Gbit/s."""
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


# The chips that plans know, by name.
CHIPS = {
  chip.name: chip
  for chip in (
    # GiB, TFLOP/s, GB/s of HBM, GB/s of a link, torus, chips, GHz
    _tpu("v4", 30.75, 275.0, 1228.0, 45.0, 3, 4096, 1.05),
    _tpu("v5e", 15.75, 197.0, 819.0, 50.0, 2, 256, 1.503),
    _tpu("v5p", 95.74, 459.0, 2765.0, 100.0, 3, 6144, 1.751),
    _tpu("v6e", 31.25, 918.0, 1640.0, 100.0, 2, 256, 1.755),
    _tpu("tpu7x", 192.0, 2307.0, 7380.0, 100.0, 3, 9216, 2.203, devices=2),
    # bytes, TFLOP/s, GB/s of HBM, GB/s of NVLink, Gbit/s of the network
    _gpu("a100", 85_100_068_864, 312.0, 2039.0, 300.0, 200.0),
    _gpu("h100", 84_942_979_072, 989.4, 3352.0, 450.0, 400.0),
    _gpu("h200", 151_397_597_184, 989.4, 4800.0, 450.0, 400.0),
    _gpu("b200", 191_514_411_008, 2250.0, 7672.0, 900.0, 400.0),
  )
}

# Per GPU: multiprocessors, FP32 units in each, bytes of shared memory in each,
# of which a block may have, bytes of L2 cache, GHz, compute capability, name.
_GPUS = {
  "a100": (108, 64, 167936, 166912, 41943040, 1.41, 8, "A100-SXM4-80GB"),
  "h100": (132, 128, 233472, 232448, 52428800, 1.98, 9, "H100 80GB HBM3"),
  "h200": (132, 128, 233472, 232448, 52428800, 1.98, 9, "H200 141GB HBM3e"),
  "b200": (148, 128, 233472, 232448, 132644864, 1.965, 10, "B200"),
}


def gpu_target_config(chip: Chip) -> str:
  """XLA's `GpuTargetConfigProto`, as text: lets it compile without the GPU.

  Args:
    chip: an NVIDIA GPU of `CHIPS`.

  Reference:
    OpenXLA, `xla/backends/gpu/target_config/specs`, 2026.

  >>> "device_memory_size: 84942979072" in gpu_target_config(CHIPS["h100"])
  True
  """
  cores, fpus, shared, block, cache, clock, major, name = _GPUS[chip.name]

  return f"""gpu_device_info {{
  threads_per_block_limit: 1024 threads_per_warp: 32
  threads_per_core_limit: 2048
  shared_memory_per_block: 49152 shared_memory_per_core: {shared}
  shared_memory_per_block_optin: {block}
  core_count: {cores} fpus_per_core: {fpus}
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535 block_dim_limit_z: 65535
  memory_bandwidth: {int(chip.bandwidth)} l2_cache_size: {cache}
  clock_rate_ghz: {clock} device_memory_size: {chip.memory}
  cuda_compute_capability {{ major: {major} }}
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 10 patch: 0 }}
device_description_str: "NVIDIA {name}"
"""
