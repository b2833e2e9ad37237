"""The sum over tiles against the same sum written densely, derived at will."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from attnjax.ops.tiles import EMPTY, FULL, MIXED, Blocks, Sweep, tile_sum

T, D, BLOCK = 8, 3, 4
TILES = np.array([(0, 0, i, j) for i in range(2) for j in range(2)], np.int32)
CODES = np.array([FULL, EMPTY, MIXED, FULL], np.int32)
LIVE = np.kron(CODES.reshape(2, 2) > 0, np.ones((BLOCK, BLOCK), np.float32))


def of_tile(full, tile, q, k, v, a):
  """A tile's share of two sums; `a` is an array given whole."""
  s = jnp.sin(q @ k.T) * a
  return [s @ v, jnp.exp(s).sum(-1)]


def ours(q, k, v, a=jnp.float32(1.3), codes=CODES):
  sums = [
    jax.ShapeDtypeStruct(v.shape, v.dtype),
    jax.ShapeDtypeStruct((T,), v.dtype),
  ]
  sweep = Sweep(
    TILES, jnp.asarray(codes), Blocks(1, 1, BLOCK, BLOCK), (0, 1, 2)
  )
  layouts = ["t.", "s.", "s.", ""]
  return tuple(
    tile_sum(of_tile, sweep, [q, k, v, a], layouts, sums, ["t.", "t"])
  )


def dense(q, k, v, a=jnp.float32(1.3)):
  s = a * jnp.sin(q @ k.T)
  return (s * LIVE) @ v, (jnp.exp(s) * LIVE).sum(-1)


@pytest.fixture
def x():
  rng = np.random.default_rng(0)
  return [jnp.asarray(rng.normal(size=(T, D)), jnp.float32) for _ in range(3)]


@pytest.fixture
def moves():
  rng = np.random.default_rng(1)
  draw = lambda: jnp.asarray(rng.normal(size=(T, D)), jnp.float32)
  return tuple(draw() for _ in range(3))


def loss(f):
  def total(*x):
    number, weight = f(*x)
    return (number**2).sum() + jnp.sin(weight).sum()

  return total


def squares(tree):
  return sum((x**2).sum() for x in jax.tree.leaves(tree))


EVERY = (0, 1, 2)
grad = lambda f: jax.grad(f, EVERY)
DERIVATIVES = {
  "value": lambda f, x, d: f(*x),
  "jvp": lambda f, x, d: jax.jvp(f, x, d),
  "grad": lambda f, x, d: grad(loss(f))(*x),
  "of one argument": lambda f, x, d: jax.grad(
    lambda v: f(x[0], x[1], v)[0].sum()
  )(x[2]),
  "of an array given whole": lambda f, x, d: jax.grad(lambda a: loss(f)(*x, a))(
    jnp.float32(0.7)
  ),
  "linearize": lambda f, x, d: jax.linearize(f, *x)[1](*d),
  "transposed": lambda f, x, d: jax.linear_transpose(
    jax.linearize(f, *x)[1], *x
  )(f(*x)),
  "forward over reverse": lambda f, x, d: jax.jvp(grad(loss(f)), x, d),
  "reverse over forward": lambda f, x, d: grad(
    lambda *x: squares(jax.jvp(f, x, d)[1])
  )(*x),
  "reverse over reverse": lambda f, x, d: grad(
    lambda *x: squares(grad(loss(f))(*x))
  )(*x),
  "jacfwd": lambda f, x, d: jax.jacfwd(f)(*x),
  "jacrev": lambda f, x, d: jax.jacrev(f)(*x),
  "hessian": lambda f, x, d: jax.hessian(loss(f))(*x),
  "vmap of grad": lambda f, x, d: jax.vmap(grad(loss(f)), (0, None, 1))(
    jnp.stack([x[0], d[0]]), x[1], jnp.stack([x[2], d[2]], 1)
  ),
  "grad of vmap": lambda f, x, d: grad(
    lambda *x: jax.vmap(loss(f), (0, None, 0))(*x).sum()
  )(jnp.stack([x[0], d[0]]), x[1], jnp.stack([x[2], d[2]])),
  "grad of scan": lambda f, x, d: jax.grad(
    lambda q: lax.scan(
      lambda c, _: (c + f(c, x[1], x[2])[0], None), q, None, length=3
    )[0].sum()
  )(x[0]),
}


@pytest.mark.parametrize(
  "wrap", [jax.jit, pytest.param(jax.checkpoint, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("name", DERIVATIVES)
def test_it_is_the_dense_sum_under(name, wrap, x, moves):
  derive = lambda f: lambda x, d: DERIVATIVES[name](wrap(f), x, d)
  at = lambda f: jax.jit(derive(f))(tuple(x), moves)
  for got, expected in zip(
    jax.tree.leaves(at(ours)), jax.tree.leaves(at(dense)), strict=True
  ):
    scale = float(abs(expected).max())
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=2e-5 * scale)


def test_an_empty_tile_is_not_computed(x):
  """Its function would give NaN; no order of derivation asks it."""
  q, k, v = x
  bad = k.at[BLOCK:].set(jnp.nan)
  first = lambda q, k, v: ours(q, k, v)[0][:BLOCK]
  for f in (first, jax.grad(lambda q: (first(q, bad, v) ** 2).sum())):
    got = f(q, bad, v) if f is first else f(q)
    assert jnp.isfinite(got[:BLOCK]).all()


def test_the_program_does_not_grow_with_the_tiles(x):
  def size(count):
    tiles = np.zeros((count, 4), np.int32)
    sweep = Sweep(
      tiles, jnp.zeros(count, jnp.int32), Blocks(1, 1, 4, 4), (0, 1, 2)
    )
    sums = [jax.ShapeDtypeStruct(x[0].shape, jnp.float32)]
    f = lambda *x: tile_sum(
      lambda *a: of_tile(*a)[:1],
      sweep,
      [*x, jnp.float32(1)],
      ["t.", "s.", "s.", ""],
      sums,
      ["t."],
    )[0].sum()
    return len(str(jax.jit(grad(f)).lower(*x).as_text()))

  assert size(1000) < 1.3 * size(10)


def test_it_survives_export(x):
  f = jax.jit(grad(loss(ours)))
  exported = jax.export.export(f)(*x)
  for got, expected in zip(exported.call(*x), f(*x), strict=True):
    np.testing.assert_array_equal(got, expected)
