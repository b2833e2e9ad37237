"""What XLA has to know of a GPU to compile for it: a target description."""

from attnjax.plan.hardware import Chip

__all__ = ["target_config"]

# What differs: cores, multipliers a core, shared memory a core and at most a
# block, second-level cache, clock, compute capability, and the driver's name.
_CORES = {
  "a100": (108, 64, 167936, 166912, 41943040, 1.41, 8, "A100-SXM4-80GB"),
  "h100": (132, 128, 233472, 232448, 52428800, 1.98, 9, "H100 80GB HBM3"),
  "h200": (132, 128, 233472, 232448, 52428800, 1.98, 9, "H200 141GB HBM3e"),
  "b200": (148, 128, 233472, 232448, 132644864, 1.965, 10, "B200"),
}


def target_config(chip: Chip) -> str:
  """A `GpuTargetConfigProto` as text, for JAX's CUDA plugin.

  Args:
    chip: an NVIDIA GPU of `CHIPS`.

  Reference:
    OpenXLA, `xla/backends/gpu/target_config/specs`, 2026.

  >>> from attnjax.plan.hardware import CHIPS
  >>> "device_memory_size: 84942979072" in target_config(CHIPS["h100"])
  True
  """
  cores, fpus, shared, block, cache, clock, major, name = _CORES[chip.name]
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
