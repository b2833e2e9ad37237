"""Walks over tiles as kernels of GPUs, interpreted: equal to loops.

With ``-m slow`` every derivative, and kernels compiled for GPUs that are not
here.
"""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax.ops.tiles import EMPTY, FULL, MIXED, Blocks, Sweep, tile_sum
from attnjax.ops.tiles.flat_programs import CannotLower
from attnjax.ops.tiles.gpu.compiled import Chosen, Machine, compiled
from attnjax.ops.tiles.gpu.groups import grouped
from attnjax.ops.tiles.gpu.kernel import GpuKernel
from attnjax.ops.tiles.gpu.tables import tables_of
from attnjax.ops.tiles.kernel_arrays import GivenArray
from attnjax.ops.tiles.visits import Visits
from tests.ops.tiles.every_sum import SUBSCRIPTS, arrays, of_tile, sums

pytest.importorskip(
  "triton", reason="needs Triton: pip install 'attnjax[cuda]'"
)

SIZES = B, H, G, T, S, D = 2, 2, 2, 48, 32, 3
BLOCKS = Blocks(1, 1, 16, 16, group=G)
PAIRS = np.array([(i, j) for i in range(3) for j in range(2)], np.int32)
# Of the first block of queries no key counts.
CODE = np.array([EMPTY, EMPTY, FULL, MIXED, MIXED, FULL], np.int32)
TILES = np.array(
  [(b, h, *pair) for b in range(B) for h in range(H) for pair in PAIRS]
)
SUMS = sums(*SIZES)


def kernel_of(known=True, narrow=None):
  codes = np.tile(CODE, B * H) if known else np.zeros(0, np.int32)
  return GpuKernel(Visits.of(Sweep(TILES, codes, BLOCKS, ())), narrow=narrow)


def derived(kernel, how, codes, operands):
  """The sums, or one derivative of them; `codes` may be traced."""
  moving = [k for k, x in enumerate(operands) if x.dtype == jnp.float32]
  shapes = [jax.ShapeDtypeStruct(x, jnp.float32) for x in SUMS.values()]

  def loss(*moves):
    every = list(operands)
    for k, x in zip(moving, moves, strict=True):
      every[k] = x
    sweep = Sweep(TILES, codes, BLOCKS, (EMPTY, MIXED, FULL), kernel=kernel)
    sums = tile_sum(of_tile, sweep, every, SUBSCRIPTS, shapes, list(SUMS))
    return sum(jnp.tanh(x / 64).sum() for x in sums)

  moves = [operands[k] for k in moving]
  gradient = jax.grad(loss, tuple(range(len(moving))))
  if how == "gradient":
    return gradient(*moves)
  if how == "second":
    return jax.jvp(gradient, moves, moves)[1]
  twice = lambda x: jnp.stack([x, -x])
  return jax.vmap(jax.vmap(gradient))(*(twice(twice(x)) for x in moves))


@pytest.mark.parametrize(
  ("how", "known"),
  [
    ("gradient", False),
    pytest.param("gradient", True, marks=pytest.mark.slow),
    pytest.param("second", True, marks=pytest.mark.slow),
    pytest.param("vmap of vmap", False, marks=pytest.mark.slow),
  ],
)
def test_a_kernel_sums_as_the_loop_does(how, known):
  codes = jnp.asarray(np.tile(CODE, B * H))
  run = lambda kernel: jax.jit(
    lambda codes, operands: derived(kernel, how, codes, operands)
  )(codes, arrays(*SIZES))
  found, expected = run(kernel_of(known)), run(None)
  for x, y in zip(found, expected, strict=True):
    np.testing.assert_allclose(x, y, rtol=3e-5, atol=3e-5)


@pytest.mark.slow
def test_factors_of_products_are_rounded_and_nothing_else():
  codes = jnp.asarray(np.tile(CODE, B * H))
  run = lambda kernel: jax.jit(
    lambda codes, operands: derived(kernel, "gradient", codes, operands)
  )(codes, arrays(*SIZES))
  # float16: the interpreter multiplies the bits of bfloat16 as integers.
  found, expected = run(kernel_of(narrow="float16")), run(None)
  far = [
    float(abs(x - y).max() / abs(y).max())
    for x, y in zip(found, expected, strict=True)
  ]
  assert 1e-5 < max(far) < 3e-3


def by_position(full, tile, x, table):
  """Σ_s of x and of a number of a table, by head and distance; and one more."""
  del full
  at = lambda n: tile[n] * 16 + jnp.arange(16)
  distance = at(2)[:, None] - at(3)[None]
  # Beyond the table the number next to its end counts.
  found = table[tile[1], distance + 52] + table[1, 0]
  return [(jnp.tanh(found) * x[0, 0, :, None]).sum(1)[None, None]]


@pytest.mark.parametrize("size", [66, 1300])  # in registers, and in memory
def test_numbers_by_position_and_what_is_added_to_them(size):
  tiles, codes = np.array([(0, 0, 0, 0), (0, 1, 0, 0)]), np.array([FULL, FULL])
  out = [jax.ShapeDtypeStruct((1, 2, 16), jnp.float32)]

  def gradient(is_kernel, x, table):
    sweep = Sweep(tiles, codes, Blocks(1, 1, 16, 16), (FULL,))
    if is_kernel:
      sweep = sweep._replace(kernel=GpuKernel(Visits.of(sweep)))
    sums = lambda x, table: tile_sum(
      by_position, sweep, [x, table], ["bht", ""], out, ["bht"]
    )[0]
    return jax.grad(lambda *xs: (sums(*xs) ** 2).sum(), (0, 1))(x, table)

  draw = lambda n, *shape: jax.random.normal(jax.random.key(n), shape)
  run = lambda is_kernel: jax.jit(functools.partial(gradient, is_kernel))(
    draw(0, 1, 2, 16), draw(1, 2, size) / 4
  )
  for x, y in zip(run(True), run(False), strict=True):
    assert x.any()
    np.testing.assert_allclose(x, y, rtol=3e-5, atol=3e-5)


def test_a_sum_of_many_numbers_has_as_few_programs_as_fit():
  counts = {"b": 4, "k": 8, "g": 1, "t": 64, "s": 64}
  of = lambda size: grouped(
    [GivenArray.of((size,), jnp.float32, "")], counts, adds=True
  )[0]
  assert of(1024).crew == 0
  assert of(4096).crew == 16  # 512 programs
  assert (of(2**22).own, of(2**22).over, of(2**22).crew) == ("k", "b", 2)


def test_tiles_that_are_no_range_are_listed_full_ones_first():
  codes = np.array([[MIXED, FULL, MIXED, FULL], [EMPTY, FULL, FULL, EMPTY]])
  tiles = np.array([(0, 0, t, s) for t in range(2) for s in range(4)])
  sweep = Sweep(tiles, codes.reshape(-1), BLOCKS, (MIXED, FULL))
  counts = {"b": 1, "t": 2, "s": 4}
  for given in (sweep.codes, None):  # known when it runs only, and before
    visits = Visits.of(sweep if given is None else sweep._replace(codes=given))
    if given is not None:
      visits = visits._replace(codes=())
    found = tables_of(visits, sweep.codes, "t", counts)
    assert np.asarray(found.bounds).tolist() == [0, 2, 2, 4, 4, 6, 6, 6]
    assert np.asarray(found.order)[:6].tolist() == [1, 3, 0, 2, 1, 2]


@pytest.mark.parametrize(
  ("function", "reason"),
  [
    (lambda full, tile, x: [jnp.cumsum(x, 1).sum()], "'cumsum'"),
    (lambda full, tile, x: [x[:, tile[3]].sum()], "in captured arrays"),
  ],
)
def test_what_a_kernel_has_not_is_named(function, reason):
  sweep = Sweep(TILES, np.tile(CODE, B * H), BLOCKS, (MIXED, FULL))
  sweep = sweep._replace(kernel=GpuKernel(Visits.of(sweep)))
  total = jax.ShapeDtypeStruct((), jnp.float32)
  with pytest.raises(CannotLower, match=reason):
    jax.jit(
      lambda x: tile_sum(function, sweep, [x], ["bt"], [total], [""])
    ).lower(jnp.ones((B, T)))


@pytest.mark.slow
@pytest.mark.parametrize(
  ("capability", "product"),
  [(80, "mma.sync"), (90, "wgmma.mma_async"), (100, "tcgen05.mma")],
)
def test_a_text_compiles_for_gpus_that_are_not_here(capability, product):
  text = """
@device
def kernel(p0, p1, o0):
  rows, columns = tl.arange(0, 64), tl.arange(0, 64)
  state = tl.full((64, 64), 0.0, tl.float32)
  for turn in range(tl.load(p1), tl.load(p1 + 1)):
    x = tl.load(p0 + turn * 4096 + rows[:, None] * 64 + columns[None, :])
    state += tl.dot(x, tl.trans(x))
  state += take_max(state, 1)[:, None]
  tl.store(o0 + rows[:, None] * 64 + columns[None, :], state)
"""
  dtypes = jnp.dtype("bfloat16"), jnp.dtype("int32"), jnp.dtype("float32")
  machine = Machine(capability, 100_000)
  made = compiled(text, dtypes, machine, Chosen(4, 3))
  program = made.asm["ptx"]
  assert product in program
  assert "cp.async" in program  # the loop is pipelined
  version = re.search(r"\.version (\d+)\.(\d+)", program)
  assert version is not None
  assert tuple(map(int, version.groups())) <= (8, 8)  # of CUDA 12.9
