"""Kernels where types divide a call over a mesh: each device computes its part.

Interpreted on CPU devices they equal the loops, divided and undivided; with
``-m slow`` they are compiled for a TPU of four chips that is not here.
"""

import importlib.util

import jax
import pytest
from jax.sharding import AxisType, PartitionSpec

import attnjax
from attnjax import masks
from tests.few import few
from tests.ops.attention.compiled_calls import counts
from tests.ops.attention.divided_calls import (
  DIVISIONS,
  LAWS,
  B,
  D,
  H,
  S,
  T,
  divided,
  draw,
  inputs,
  lay,
  outputs,
  rich,
  same,
  some,
  spec,
)

KERNELS = attnjax.Fused(8, 16, interpret=True)
CAUSAL = {"mask": masks.causal()}


@pytest.fixture(scope="module")
def mesh():
  return jax.make_mesh((2, 2), ("data", "model"), devices=jax.devices()[:4])


def said(*x, **options):
  """What the kernels say of a call."""
  told = attnjax.explain(*x, implementation=KERNELS, **options)
  return told.verdicts[0]


# 3 queries are rows of one tile, as in decoding.
@pytest.mark.parametrize(
  "division", few(DIVISIONS, "batch and heads", "batch over both")
)
@pytest.mark.parametrize(
  "queries", [3, pytest.param(T, marks=pytest.mark.slow)]
)
def test_kernels_equal_the_loops_and_stay_divided(mesh, division, queries):
  axes = DIVISIONS[division]
  query, *keys = inputs()
  x = query[:, :queries], *keys
  # A table that has a part for each row and head.
  table = jax.random.bernoulli(jax.random.key(3), 0.3, (B, H, queries, S))
  mask = {"mask": masks.causal() | masks.dense(table)}
  run = lambda how: jax.jit(lambda x: outputs(x, mask, how))
  out = run(KERNELS)(divided(mesh, axes, x))
  same(out, run("blockwise")(x))
  assert spec(out) == PartitionSpec(*axes, *(None,) * (4 - len(axes)))


@pytest.mark.slow
@pytest.mark.parametrize(
  ("law", "options", "shared"),
  [
    ("gradient", rich, 4),
    ("gradient", rich, 1),
    ("jvp", some, 8),
    ("second order", rich, 2),
  ],
)
def test_derivatives_reach_everything(mesh, law, options, shared):
  x = inputs(shared)
  axes = DIVISIONS["batch and heads"]
  keys = axes if shared > 1 else ("data",)
  placed = (lay(mesh, x[0], *axes), *divided(mesh, keys, x[1:]))

  def of(place):
    found = options(place)
    # Rows that are chosen from are no kernel's.
    return {
      n: y for n, y in found.items() if options is rich or n != "normalizer"
    }

  got = LAWS[law](placed, of(lambda y, *n: lay(mesh, y, *n)), KERNELS)
  same(got, LAWS[law](x, of(lambda y, *n: y), "blockwise"))


@pytest.mark.slow
def test_few_queries_know_their_rows_and_heads(mesh):
  def of(place):
    found = rich(place)
    return found | {
      "bias": found["bias"][:, :, :3],
      "query_segment_ids": found["query_segment_ids"][:, :3],
    }

  query, *keys = inputs(2)
  x = query[:, :3], *keys
  axes = DIVISIONS["batch and heads"]
  placed = divided(mesh, axes, x)
  options = of(lambda y, *n: lay(mesh, y, *n))
  assert "3 queries of all 4 heads" in said(*placed, **options).reason
  got = LAWS["gradient"](placed, options, KERNELS)
  same(got, LAWS["gradient"](x, of(lambda y, *n: y), "blockwise"))


@pytest.mark.slow
def test_arrays_that_are_whole_on_a_mesh_and_batches_of_calls(mesh):
  x = inputs()
  run = jax.jit(lambda x: outputs(x, CAUSAL, KERNELS))
  want = outputs(x, CAUSAL, "blockwise")
  with jax.set_mesh(mesh):
    same(run(tuple(lay(mesh, y) for y in x)), want)
  each = jax.vmap(lambda *y: outputs(y, CAUSAL, KERNELS))
  same(each(*divided(mesh, (None, None, "model"), x)), want)


@pytest.mark.parametrize("division", [("data",), ("data", None, "model")])
def test_what_vmap_hides_of_a_division_is_named(mesh, division):
  x = divided(mesh, division, inputs())
  with pytest.raises(NotImplementedError, match=r"maps over what .*'data'"):
    jax.vmap(lambda *y: outputs(y, CAUSAL, KERNELS))(*x)


def test_what_no_kernel_can_be_divided_over_is_named(mesh):
  x = draw(1, B, T, H, D)
  tokens = said(*divided(mesh, ("data", "model"), (x,) * 3))
  assert not tokens.forward
  assert "tokens of query (axis T)" in tokens.reason
  assert "attnjax.parallel" in tokens.reason
  kinds = AxisType.Explicit, AxisType.Auto
  mixed = jax.make_mesh(
    (2, 2), ("data", "model"), kinds, devices=jax.devices()[:4]
  )
  automatic = said(*divided(mixed, ("data",), (x,) * 3))
  assert not automatic.forward
  assert "automatic mesh axes ['model']" in automatic.reason


@pytest.mark.slow
@pytest.mark.skipif(
  importlib.util.find_spec("triton") is None,
  reason="needs Triton: pip install 'attnjax[cuda]'",
)
@pytest.mark.parametrize("shared", [4, 1])
def test_those_of_a_gpu_do_the_same(mesh, shared):
  kernels, x = attnjax.Fused(16, 16, interpret="gpu"), inputs(shared)
  axes = DIVISIONS["batch and heads"]
  keys = axes if shared > 1 else ("data",)
  placed = (lay(mesh, x[0], *axes), *divided(mesh, keys, x[1:]))
  got = LAWS["gradient"](placed, rich(lambda y, *n: lay(mesh, y, *n)), kernels)
  same(got, LAWS["gradient"](x, rich(lambda y, *n: y), "blockwise"))


@pytest.mark.slow
@pytest.mark.skipif(
  importlib.util.find_spec("libtpu") is None,
  reason="needs libtpu: pip install 'attnjax[tpu]'",
)
def test_nobody_names_them_and_they_compile_for_four_chips():
  kernels, gathers = (
    counts("v5e:2x2", word, ["divided", "divided decode"])
    for word in ("tpu_custom_call", "all-gather")
  )
  # Forward and backward, of the part of a device.
  assert kernels == [2, 2]
  assert gathers == [0, 0]
