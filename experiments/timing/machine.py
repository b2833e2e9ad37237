"""What a reader must know of this machine to compare numbers."""

import os
import platform
import re
from importlib import metadata
from pathlib import Path

import jax

__all__ = ["cores", "describe"]


def cores() -> int:
  """Number of cores that this process may use."""
  # The affinity knows of containers and of `taskset`; macOS has none.
  if hasattr(os, "sched_getaffinity"):
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1


def describe(torch_version: str | None) -> dict[str, str | int]:
  """Device, processor, cores and versions of what is measured, by name.

  Args:
    torch_version: of the PyTorch process; None leaves it out.
  """
  torch = {"torch": torch_version} if torch_version else {}

  return {
    "device": jax.devices()[0].device_kind,
    "processor": _processor(),
    "cores": cores(),
    "python": platform.python_version(),
    "jax": jax.__version__,
    "flax": metadata.version("flax"),
    **torch,
  }


def _processor() -> str:
  """Name of the processor, as far as the system tells."""
  # On Linux `platform.processor` is empty or says x86_64.
  try:
    text = Path("/proc/cpuinfo").read_text()
  except OSError:
    text = ""
  found = re.search(r"^model name\s*:\s*(.+)$", text, re.M)
  return found[1] if found else platform.processor() or platform.machine()
