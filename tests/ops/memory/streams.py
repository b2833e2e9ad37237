"""Compiled streams of a problem, each made once and shared by the tests."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from attnjax import memory
from tests.ops.memory.rows import ROWS_AND_LOOPS, Problem

__all__ = ["compiled", "differentiated", "near", "problem", "quick", "streamed"]

# Half the time to compile; the programs here run once.
FAST = {
  "xla_backend_optimization_level": 0,
  "xla_llvm_disable_expensive_passes": True,
}
quick = functools.partial(jax.jit, compiler_options=FAST)


@functools.cache
def problem(name):
  """The problem of a row."""
  return Problem(ROWS_AND_LOOPS[name][0])


@functools.cache
def compiled(implementation=None):
  """`memory.stream`, whose position no call knows while it is made."""
  return quick(
    lambda state, inputs: memory.stream(
      state, *inputs, implementation=implementation
    )
  )


@functools.cache
def streamed(name, implementation):
  """(state, answers) of a row's problem at once."""
  given = problem(name)
  whole = lambda w, x: memory.stream(
    given.init(w), *x, implementation=implementation
  )
  return quick(whole)(given.weights, given.inputs)


def differentiated(name, implementation):
  """((state, answers), gradients) of a scalar of everything that came out."""
  given = problem(name)

  def scalar(weights, inputs, gain):
    found = memory.stream(
      given.init(weights, gain=gain), *inputs, implementation=implementation
    )
    floats = [x for x in jax.tree.leaves(found) if x.dtype == jnp.float64]
    return sum(jnp.sin(x).sum() for x in floats), found

  gradient = quick(jax.grad(scalar, (0, 1, 2), has_aux=True))
  gradients, found = gradient(given.weights, given.inputs, given.gain)
  return found, gradients


def near(got, expected, tolerance=1e-12):
  """Trees alike to a part of the size of each array."""
  found, tree = jax.tree.flatten(got)
  wanted, like = jax.tree.flatten(expected)
  assert tree == like
  for x, y in zip(found, wanted, strict=True):
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    assert x.shape == y.shape
    assert np.isfinite(y).all()
    size = max(1, abs(y).max(initial=0))
    np.testing.assert_allclose(x, y, rtol=0, atol=tolerance * size)
