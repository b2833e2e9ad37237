"""Strict settings for every test: what is ambiguous is an error.

Eight CPU devices stand for a small mesh. JAX reads these variables when it is
first imported, so they are set before anything imports it.
"""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["XLA_FLAGS"] = (
  os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
)

import jaxtyping

# Every jaxtyping annotation of the library is checked at each call.
jaxtyping.install_import_hook("attnjax", "beartype.beartype")

import jax  # noqa: E402
import pytest  # noqa: E402

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


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
