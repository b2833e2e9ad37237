"""Values and derivatives to second order: the transforms that laws compare.

A transform is a function ``(f, x) -> tree``: f maps a dictionary of arrays to
another, x is its argument. It is applied to the attention under test and to
the dense oracle alike.
"""

import zlib

import jax
import jax.numpy as jnp
import numpy as np

__all__ = [
  "directions",
  "forward",
  "grad_of_grad",
  "grad_of_jvp",
  "jvp_of_grad",
  "linearized",
  "loss",
  "reverse",
  "value",
]


def directions(tree, salt: str):
  """A direction for every array of a tree, the same in every dtype.

  Its entries depend on the path and shape of an array alone.
  """
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  drawn = []
  for path, leaf in leaves:
    # Not hash(): it differs between processes.
    seed = zlib.crc32((salt + jax.tree_util.keystr(path)).encode())
    # Multiples of 1/8 below 2: exact in bfloat16 and float16 too.
    eighths = np.random.default_rng(seed).integers(-12, 13, np.shape(leaf))
    drawn.append(jnp.asarray(eighths / 8, leaf.dtype))
  return jax.tree.unflatten(jax.tree.structure(tree), drawn)


def value(f, x):
  """f(x), as a dictionary like those of the other transforms."""
  return {"value": f(x)}


def reverse(f, x):
  """f(x), and the gradient of a weighted sum of all results."""
  found, pull = jax.vjp(f, x)
  (gradient,) = pull(directions(found, "cotangent"))
  return {"value": found, "gradient": gradient}


def forward(f, x):
  """f(x), and its JVP in a direction."""
  found, tangent = jax.jvp(f, (x,), (_tangents(x),))
  return {"value": found, "tangent": tangent}


def linearized(f, x):
  """As `forward`, by `jax.linearize`."""
  found, push = jax.linearize(f, x)
  return {"value": found, "tangent": push(_tangents(x))}


def loss(f):
  """A scalar function that is quadratic in every finite result of f."""

  def number(x):
    found = f(x)
    # In the widest dtype of the results: aux is float32 where out is bfloat16.
    total = jnp.zeros((), jnp.result_type(*jax.tree.leaves(found)))
    for y, d in zip(
      jax.tree.leaves(found),
      jax.tree.leaves(directions(found, "cotangent")),
      strict=True,
    ):
      # -inf, such as the log-sum-exp of an empty row, is constant.
      y = jnp.where(jnp.isfinite(y), y, 0)
      # Linear and quadratic: with y² / 2 the Hessian has products of first
      # derivatives of f, and with d · y its second derivatives.
      total = total + jnp.sum(d * y + y * y / 2).astype(total.dtype)

    return total

  return number


def jvp_of_grad(f, x):
  """The Hessian of `loss` times a direction, forward over reverse."""
  _, bent = jax.jvp(jax.grad(loss(f)), (x,), (_tangents(x),))
  return {"second derivative": bent}


def grad_of_jvp(f, x):
  """The Hessian of `loss` times a direction, reverse over forward."""
  change = lambda y: jax.jvp(loss(f), (y,), (_tangents(y),))[1]
  return {"second derivative": jax.grad(change)(x)}


def grad_of_grad(f, x):
  """The Hessian of `loss` times a direction, reverse over reverse."""

  def along(y):
    gradient = jax.tree.leaves(jax.grad(loss(f))(y))
    parts = zip(gradient, jax.tree.leaves(_tangents(y)), strict=True)
    return sum(jnp.sum(g * d) for g, d in parts)

  return {"second derivative": jax.grad(along)(x)}


def _tangents(x):
  """A direction for every array, 0 where a bias is -inf."""
  drawn = directions(x, "tangent")
  return jax.tree.map(lambda d, y: jnp.where(jnp.isfinite(y), d, 0), drawn, x)
