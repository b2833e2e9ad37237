"""Calls whose arrays are divided on a mesh of explicit axes, for its tests."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

import attnjax
from attnjax import masks, normalizers, score_mods

B, T, S, H, D, E = 4, 10, 11, 8, 4, 3
BLOCKS = attnjax.Blockwise(4, 4)
DIVISIONS = {
  "batch and heads": ("data", None, "model"),
  "batch": ("data",),
  "heads": (None, None, "model"),
  "batch over both": (("data", "model"),),
}


def draw(name, *shape):
  return jax.random.normal(jax.random.key(hash(name) % 97), shape)


def lay(mesh, x, *axes):
  return jax.device_put(x, NamedSharding(mesh, PartitionSpec(*axes)))


def inputs(shared=4):
  return draw(1, B, T, H, D), draw(2, B, S, shared, D), draw(3, B, S, shared, E)


def spec(x):
  return jax.typeof(x).sharding.spec


def rich(place):
  """Masks, a score mod, a bias and a sink that know of rows and heads."""
  lengths = place(jnp.array([3, 11, 0, 7]), "data")
  return {
    "mask": masks.causal() & masks.lengths(key=lengths),
    "score_mod": score_mods.from_fn(
      lambda s, b, h, q, k, x: s + x[b, h] * (q - k).astype(float),
      draw(4, B, H) / 9,
    ),
    "bias": place(draw(5, B, H, T, S), "data", "model"),
    "normalizer": normalizers.softmax(sink=draw(6, H)),
    "query_segment_ids": place(jnp.arange(B * T).reshape(B, T) // 4, "data"),
    "key_segment_ids": jnp.arange(B * S).reshape(B, S) // 4,
    "aux": ("logsumexp", "entropy"),
  }


def some(place):
  """Another normalizer, an array for a mask, and dropout."""
  table = jax.random.bernoulli(jax.random.key(7), 0.7, (B, H, T, S))
  return {
    "mask": place(table, "data", "model"),
    "normalizer": normalizers.top_k(3),
    "dropout_rate": 0.3,
    "dropout_key": jax.random.key(1),
    "query_positions": place(jnp.arange(B * T).reshape(B, T), "data"),
  }


def outputs(x, options, how=BLOCKS):
  return attnjax.attend(*x, **options, implementation=how)


def floats(options):
  """The differentiable arrays among options, and how to put them back."""
  leaves, tree = jax.tree.flatten(options)
  moves = [
    isinstance(y, jax.Array) and jnp.issubdtype(y.dtype, jnp.floating)
    for y in leaves
  ]
  moving = [y for y, m in zip(leaves, moves, strict=True) if m]

  def back(new):
    new = iter(new)
    return jax.tree.unflatten(
      tree, [next(new) if m else y for y, m in zip(leaves, moves, strict=True)]
    )

  return moving, back


def loss(back, how):
  def number(x, moving):
    found = jax.tree.leaves(outputs(x, back(moving), how))
    return sum(jnp.where(jnp.isfinite(y), jnp.sin(y), 0).sum() for y in found)

  return number


def gradient(x, options, how=BLOCKS):
  moving, back = floats(options)
  return jax.jit(jax.grad(loss(back, how), (0, 1)))(x, moving)


def pushed(x, options, how=BLOCKS):
  moving, back = floats(options)
  tangents = jax.tree.map(jnp.cos, (x, moving))
  f = lambda x, moving: outputs(x, back(moving), how)
  return jax.jit(lambda *of: jax.jvp(f, of, tangents))(x, moving)


def second(x, options, how=BLOCKS):
  moving, back = floats(options)
  tangents = jax.tree.map(jnp.cos, (x, moving))
  f = jax.grad(loss(back, how), (0, 1))
  return jax.jit(lambda *of: jax.jvp(f, of, tangents)[1])(x, moving)


def same(got, want):
  for x, y in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
    np.testing.assert_allclose(
      np.asarray(x), np.asarray(y), atol=2e-4, rtol=1e-3
    )


def divided(mesh, division, x):
  return tuple(lay(mesh, y, *division) for y in x)


LAWS = {"gradient": gradient, "jvp": pushed, "second order": second}
