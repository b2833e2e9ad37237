"""The machine: what it is, and how fast it multiplies matrices."""

import platform
import re
import time
from importlib import metadata
from pathlib import Path

import jax
import jax.numpy as jnp

from experiments.attention_speed.torch_child import TorchChild, cores

__all__ = ["describe", "matmul_rate"]


def describe(torch_version: str | None) -> dict[str, str | int]:
  """What a reader must know to compare numbers."""
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


def matmul_rate(size: int, child: TorchChild | None) -> dict[str, float]:
  """FLOP/s of a float32 product of squares, of XLA and of PyTorch.

  The best of several each: it says what the machine can do, and the larger of
  the two is what fractions are of.

  Args:
    size: rows of the squares.
    child: the PyTorch process; None measures XLA alone.
  """
  x = jnp.ones((size, size))
  product = jax.jit(jnp.matmul).lower(x, x).compile()
  seconds = []
  for _ in range(8):
    start = time.perf_counter()
    jax.block_until_ready(product(x, x))
    seconds.append(time.perf_counter() - start)
  rates = {"XLA": 2.0 * size**3 / min(seconds)}
  theirs = None if child is None else child.matmul_rate(size)
  return rates if theirs is None else rates | {"PyTorch": theirs}


def _processor() -> str:
  """The name of the processor, as far as the system tells."""
  try:
    text = Path("/proc/cpuinfo").read_text()
  except OSError:
    text = ""
  found = re.search(r"^model name\s*:\s*(.+)$", text, re.M)
  return found[1] if found else platform.processor() or platform.machine()
