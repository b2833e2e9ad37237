"""Modules with parameters drawn by numpy: no initialiser has to compile."""

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["arrays", "module"]


def module(make, *, seed=0, scale=0.4):
  """The module that ``make()`` makes, every parameter normal and of one size.

  Biases and scales of norms too, so that none of them is there in name only.
  """
  shapes = jax.eval_shape(make)
  leaves, tree = jax.tree.flatten(shapes)
  drawn = arrays(*(x.shape for x in leaves), seed=seed, scale=scale)
  return jax.tree.unflatten(tree, drawn)


def arrays(*shapes, seed=0, scale=1.0):
  """Normal float32 arrays, one a shape."""
  rng = np.random.default_rng(seed)
  draw = lambda shape: scale * rng.standard_normal(shape)
  return [jnp.asarray(draw(shape), jnp.float32) for shape in shapes]
