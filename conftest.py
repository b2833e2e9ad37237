"""Strict settings for every test: what is ambiguous is an error.

Eight CPU devices stand for a small mesh, and machine code is not polished:
most programs of a test run once, and LLVM took two fifths of the suite. XLA's
own passes are as ever. JAX reads these variables when it is first imported, so
they are set before anything imports it. What a user's machine would run:

    XLA_FLAGS="--xla_backend_optimization_level=3
      --xla_cpu_use_fusion_emitters=true" pytest
"""

import gc
import itertools
import os
import runpy
from importlib import metadata
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["XLA_FLAGS"] = " ".join(
  (
    "--xla_force_host_platform_device_count=8",
    "--xla_backend_optimization_level=0",
    # The newer emitters load every dialect of MLIR anew for each program: 60 %
    # of the time that XLA took to compile tests/ops/test_scoring.py. Later
    # versions than 0.10 end the process at a flag that they do not know.
    "--xla_cpu_use_fusion_emitters=false"
    if metadata.version("jaxlib").startswith("0.10.")
    else "",
    # A program is small: its parts are not worth a module of LLVM each.
    "--xla_cpu_parallel_codegen_split_count=1",
    os.environ.get("XLA_FLAGS", ""),  # the last of a name counts
  )
)

import jaxtyping

# Every jaxtyping annotation of the library is checked at each call.
jaxtyping.install_import_hook("attnjax", "beartype.beartype")

import chex  # noqa: E402
import jax  # noqa: E402
import pytest  # noqa: E402
from jax._src.interpreters import mlir  # noqa: E402

# A tenth of the time of tests/ops/test_scoring.py. By its file: the process
# that gives out tests need not import the library first, which takes 5 s.
_FILE = Path(__file__).parent / "attnjax" / "runs" / "allocation.py"
runpy.run_path(str(_FILE))["keep_freed_memory"]()

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
# Where in Python each operation comes from, which no test asks.
jax.config.update("jax_include_full_tracebacks_in_locations", False)
jax.config.update("jax_traceback_in_locations_limit", 0)

_MAPPED = Path("/proc/self/maps")  # of Linux
_MOST = 30_000
_tests = itertools.count(1)
_programs = itertools.count()
_context = None


def _shared_ir_context(make=mlir.make_ir_context):
  """A context of MLIR that 100 programs share; JAX makes one for each.

  To load its dialects took 4 ms, a fifth of a test of small programs. A context
  keeps every constant that was ever in it, so none is kept for good.
  """
  global _context
  if next(_programs) % 100 == 0:
    _context = make()
  return _context


mlir.make_ir_context = _shared_ir_context

# Jaxprs are many small objects, most of which live as long as JAX's caches:
# Python would walk over all of them again and again.
gc.set_threshold(100_000, 20, 50)


def pytest_collection_finish():
  """Leaves what was imported out of every garbage collection."""
  gc.collect()
  gc.freeze()


def pytest_runtest_teardown():
  """Lets programs go before there are too many of them for one process.

  Each that is compiled maps several regions of memory, of which Linux allows
  65,530 to a process: beyond them XLA was seen to crash, after 2000 tests.
  """
  if next(_tests) % 20 or not _MAPPED.exists():
    return
  if _MAPPED.read_text().count("\n") > _MOST:
    jax.clear_caches()
    gc.collect()


@pytest.fixture(autouse=True)
def _traces():
  """`chex.assert_max_traces` counts in each test anew."""
  chex.clear_trace_counter()


@pytest.fixture
def key():
  """A fixed random key."""
  return jax.random.key(0)


@pytest.fixture
def as_a_user():
  """Without the annotation checks, which users do not have: our own words."""
  jaxtyping.config.update("jaxtyping_disable", True)
  yield
  jaxtyping.config.update("jaxtyping_disable", False)
