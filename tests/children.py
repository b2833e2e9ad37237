"""The environment of a Python that a test starts."""

import os
from pathlib import Path

ROOT = Path(__file__).parents[1]


def environment(devices=1, **more):
  """Ours, with so many CPU devices, and the machine code of `conftest.py`.

  Args:
    devices: CPU devices of the process.
    **more: variables beside those.
  """
  count = f"--xla_force_host_platform_device_count={devices}"
  fixed = {
    "JAX_PLATFORMS": "cpu",
    # The last of a name counts.
    "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} {count}",
    "PYTHONPATH": str(ROOT),
  }
  return os.environ | fixed | more
