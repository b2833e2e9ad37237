"""Walks over tiles as Pallas kernels, interpreted: equal to loops, derived too.

Sums and lookups of every kind that a kernel has a place for.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax.ops.tiles import EMPTY, FULL, MIXED, Blocks, Sweep, tile_sum
from attnjax.ops.tiles.flat_programs import CannotLower
from attnjax.ops.tiles.kernel import Kernel
from attnjax.ops.tiles.visits import Visits, held
from attnjax.ops.tiles.vmem import TooLarge
from tests.ops.tiles.every_sum import SUBSCRIPTS, arrays, of_tile, sums

SIZES = B, H, G, T, S, D = 2, 4, 2, 12, 16, 3
BLOCKS = Blocks(1, 1, 3, 4, group=G)
PAIRS = np.array([(i, j) for i in range(4) for j in range(4)], np.int32)
# Of the first block of queries no key counts.
CODE = np.array(
  [
    [EMPTY, EMPTY, EMPTY, EMPTY],
    [FULL, MIXED, EMPTY, MIXED],
    [FULL, FULL, EMPTY, EMPTY],
    [FULL, FULL, FULL, MIXED],
  ],
  np.int32,
).reshape(-1)
SUMS = sums(*SIZES)


def sums_by(kernel, codes, operands):
  """The sums; `codes` may be traced."""
  heads = [(b, h, *pair) for b in range(B) for h in range(H) for pair in PAIRS]
  tiles = np.array(heads, np.int32)
  sweep = Sweep(tiles, codes, BLOCKS, (EMPTY, MIXED, FULL), kernel=kernel)
  shapes = [jax.ShapeDtypeStruct(x, jnp.float32) for x in SUMS.values()]
  return tile_sum(of_tile, sweep, operands, SUBSCRIPTS, shapes, list(SUMS))


def kernel_of(macro=(1, 1), known=True):
  """A kernel for these tiles, several of them a visit."""
  heads = [(b, h, *pair) for b in range(B) for h in range(H) for pair in PAIRS]
  codes = np.tile(CODE, B * H) if known else np.zeros(0, np.int32)
  sweep = Sweep(np.array(heads, np.int32), codes, BLOCKS, ())
  return Kernel(Visits.of(sweep, macro), interpret=True)


def close(found, expected):
  for x, y in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
    np.testing.assert_allclose(x, y, rtol=2e-5, atol=2e-5)


def derived(kernel, how, codes, operands):
  """One derivative of the sums, or the sums."""
  moving = [k for k, x in enumerate(operands) if x.dtype == jnp.float32]

  def sums(*moves):
    every = list(operands)
    for k, x in zip(moving, moves, strict=True):
      every[k] = x
    return sums_by(kernel, codes, every)

  def loss(*moves):
    return sum(jnp.tanh(x / 64).sum() for x in sums(*moves))

  places = tuple(range(len(moving)))
  gradient = jax.grad(loss, places)
  moves = [operands[k] for k in moving]
  if how == "forward":
    return sums(*moves)
  if how == "gradient":
    return gradient(*moves)
  if how == "second":
    return jax.jvp(gradient, moves, moves)[1]
  several = [jnp.stack([x, 2 * x]) for x in moves[:3]] + moves[3:]
  axes = (0, 0, 0, *([None] * len(moves[3:])))
  if how == "vmap of gradient":
    return jax.vmap(gradient, axes)(*several)
  # Every array, those that are given whole too.
  twice = [jnp.stack([x, -x]) for x in moves]
  return jax.vmap(jax.vmap(gradient), (0,) * len(moves))(
    *(jnp.stack([x, x + 1]) for x in twice)
  )


@pytest.mark.parametrize(
  ("how", "macro", "known"),
  [
    pytest.param("gradient", (1, 2), True, marks=pytest.mark.slow),
    ("vmap of gradient", (1, 1), False),
    pytest.param("forward", (1, 1), True, marks=pytest.mark.slow),
    pytest.param("gradient", (1, 4), False, marks=pytest.mark.slow),
    pytest.param("second", (4, 2), True, marks=pytest.mark.slow),
    pytest.param("vmap of vmap", (2, 1), False, marks=pytest.mark.slow),
  ],
)
def test_a_kernel_sums_as_the_loop_does(how, macro, known):
  codes = np.tile(CODE, B * H)
  run = lambda kernel: jax.jit(
    lambda codes, operands: derived(kernel, how, codes, operands)
  )(jnp.asarray(codes), arrays(*SIZES))
  close(run(kernel_of(macro, known)), run(None))


def test_a_sum_is_held_while_visits_add_to_it():
  sizes = {"b": 2, "k": 2, "g": 2, "t": 4, "s": 4}
  lead = "bkg"
  # By query, visits of a block of queries follow one another.
  assert held("bkgt.", "t", lead, sizes).cut == "bkgt"
  # Sums over a group of heads are of all keys, for heads come one by one.
  assert held("bks.", "t", lead, sizes) == ("bk", "gts")
  assert held("bks.", "s", lead, sizes | {"g": 1}) == ("bks", "t")
  # A sum over the batch is held from the first visit to the last.
  assert held("kgts", "t", lead, sizes) == ("", "bkgts")


@pytest.mark.parametrize(
  ("function", "limit", "error", "said"),
  [
    (lambda x: jnp.sort(x, -1), 2**20, CannotLower, "the operation 'sort'"),
    (lambda x: x + x, 99, TooLarge, r"take 0.0 MiB of VMEM, of 0 that"),
  ],
)
def test_what_no_kernel_can_be_is_said_before_it_is_compiled(
  function, limit, error, said
):
  tiles = np.array([(0, 0, i, 0) for i in range(4)], np.int32)
  sweep = Sweep(tiles, np.full(4, FULL), Blocks(1, 1, 3, 4), (FULL,))
  kernel = Kernel(Visits.of(sweep), interpret=True, limit=limit)
  x = jnp.ones((T, D))
  shape = jax.ShapeDtypeStruct(x.shape, x.dtype)
  of_tile = lambda full, tile, x: [function(x)]
  with pytest.raises(error, match=said):
    tile_sum(
      of_tile, sweep._replace(kernel=kernel), [x], ["t."], [shape], ["t."]
    )
