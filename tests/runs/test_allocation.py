"""Freed memory is kept: the next large block needs no new pages."""

import platform
import subprocess
import sys

import pytest

from attnjax.runs import allocation

# Without huge pages, which are far fewer, where NumPy asks for them.
_PROGRAM = """
import os
os.environ["NUMPY_MADVISE_HUGEPAGE"] = "0"
import resource
import runpy
import sys
import numpy as np
keep_freed_memory = runpy.run_path(sys.argv[1])["keep_freed_memory"]

print(keep_freed_memory())

def faults():
  return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

np.ones(2**22)  # 32 MiB, freed at once
before = faults()
for _ in range(4):
  np.ones(2**22)
print(faults() - before)
"""


def run(env=None):
  done = subprocess.run(
    [sys.executable, "-c", _PROGRAM, allocation.__file__],
    capture_output=True,
    text=True,
    check=True,
    env=env,
  )
  kept, faults = done.stdout.split()
  return kept == "True", int(faults)


@pytest.mark.slow
@pytest.mark.skipif(
  platform.libc_ver()[0] != "glibc", reason="needs glibc's allocator"
)
def test_freed_memory_serves_again(monkeypatch):
  for name in ("MALLOC_ARENA_MAX", "GLIBC_TUNABLES"):
    monkeypatch.delenv(name, raising=False)
  kept, faults = run()
  assert kept
  assert faults < 1000  # 4 x 8192 pages of 4 KiB otherwise

  # Who has chosen otherwise is left alone.
  monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "0")
  kept, faults = run()
  assert not kept
  assert faults > 4 * 8000
