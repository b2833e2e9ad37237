"""What is read from a compiled program, against what is known by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

import attnjax
from attnjax import masks, plan
from attnjax.ops.target import traced_for
from attnjax.plan import (
  collectives,
  costs,
  jaxpr_flops,
  mesh_of,
  read_program,
  topology,
)
from attnjax.plan.collectives import groups_of
from attnjax.plan.costs import flops_of
from attnjax.plan.hlo import parse

A, B, C = 5, 7, 11


def text_of(function, *arguments):
  return jax.jit(function).lower(*arguments).compile().as_text()


def compiled(function, *arguments):
  return read_program(text_of(function, *arguments))


def nested(x, y):
  """3 x 2 products inside two loops, and one outside."""

  def outer(x, _):
    step = lambda x, _: (jnp.tanh(x @ y), None)
    return jax.lax.scan(step, x, length=2)[0], None

  return jax.lax.scan(outer, x, length=3)[0] @ y


def branching(x, y):
  """One product certain, one if the data say so."""
  return jax.lax.cond(x[0, 0] > 0, lambda x: x @ y, lambda x: x, x @ y)


X, Y = jnp.ones((A, B)), jnp.ones((B, B))
ONE = 2 * A * B * B


@pytest.mark.parametrize(
  ("function", "most", "least"),
  [(nested, 7 * ONE, 7 * ONE), (branching, 2 * ONE, ONE)],
)
def test_products_count_at_every_turn(function, most, least):
  found = costs(compiled(function, X, Y))
  assert (found.flops, found.certain_flops) == (most, least)
  assert jaxpr_flops(function, X, Y) == most


def test_every_tile_of_a_mask_known_at_run_time_counts_once():
  x = jax.ShapeDtypeStruct((1, 32, 2, 8), jnp.float32)
  ids = jax.ShapeDtypeStruct((1, 32), jnp.int32)
  engine = attnjax.Blockwise(8, 8, 1)

  def packed(query, key, value, ids):
    return attnjax.attend(
      query,
      key,
      value,
      query_segment_ids=ids,
      key_segment_ids=ids,
      implementation=engine,
    )

  products = 2 * 2 * 32 * 32 * 2 * 8  # q . k and weights . v of all heads
  assert jaxpr_flops(packed, x, x, x, ids) == products


@pytest.mark.parametrize(("turns", "times"), [(None, 1), (0, 0), (C, C)])
def test_a_loop_of_unknown_length_turns_as_often_as_is_said(turns, times):
  turn = lambda f: lambda x, n: jax.lax.fori_loop(0, n, lambda _, x: f(x), x)
  read = lambda f: read_program(text_of(turn(f), X, 3), turns=turns)
  multiplies = read(lambda x: jnp.tanh(x @ Y))
  assert costs(multiplies).flops == times * ONE
  assert multiplies.unknown_loops == (turns is None)
  assert read(jnp.tanh).unknown_loops == 1  # only what multiplies is meant


def test_a_branch_is_taken_as_often_as_is_said():
  found = costs(read_program(text_of(branching, X, Y), taken=0.25))
  assert (found.flops, found.certain_flops) == (1.25 * ONE, ONE)


def test_a_loop_moves_its_bytes_at_every_turn():
  once = costs(compiled(lambda x: jnp.sin(x), jnp.ones((A, B)))).bytes
  step = lambda x, _: (jnp.sin(x), None)
  loop = lambda x: jax.lax.scan(step, x, length=C)[0]
  assert once == 2 * 4 * A * B
  assert (
    C * once <= costs(compiled(loop, jnp.ones((A, B)))).bytes < 3 * C * once
  )


def test_a_slice_moves_what_is_cut_and_not_the_whole():
  big = jnp.ones((1000, C))
  f = lambda x, i: jax.lax.dynamic_slice(x, (i, 0), (A, C)) * 2
  assert costs(compiled(f, big, 3)).bytes < 4 * 4 * A * C


def test_a_product_with_batch_axes_written_as_a_convolution():
  """As the TPU compiler writes it: 8 x 12 products of 128 x 64 x 128."""
  text = """ENTRY %main (a: f32[8,12,128,64], b: f32[8,12,128,64]) -> f32[] {
  %a = f32[8,12,128,64]{3,2,1,0:T(8,128)} parameter(0)
  %b = f32[8,12,128,64]{3,2,1,0:T(8,128)} parameter(1)
  ROOT %c = f32[8,12,128,128]{2,3,1,0:T(8,128)S(1)} convolution(%a, %b), \
window={size=8x12 stride=7x11 lhs_dilate=8x12}, dim_labels=01bf_01oi->01bf
}"""
  computations, entry = parse(text)
  instruction = computations[entry].instructions["c"]
  found = flops_of(instruction, computations[entry])
  assert found == 2 * 8 * 12 * 128 * 64 * 128
  assert instruction.arrays[0].space == 1


def test_what_is_copied_and_then_sliced_is_read_as_far_as_the_slice():
  """As the TPU compiler nests kernels: 64 rows are there, one is read."""
  text = """%copying (p: f32[64,128]) -> f32[64,128] {
  %p = f32[64,128]{1,0} parameter(0)
  ROOT %q = f32[64,128]{1,0} copy(%p)
}

%slicing (a: f32[64,128], i: s32[]) -> f32[1,128] {
  %a = f32[64,128]{1,0} parameter(0)
  %i = s32[] parameter(1)
  %b = f32[64,128]{1,0} fusion(%a), kind=kLoop, calls=%copying
  ROOT %c = f32[1,128]{1,0} dynamic-slice(%b, %i, %i)
}

ENTRY %main (x: f32[64,128], n: s32[]) -> f32[1,128] {
  %x = f32[64,128]{1,0} parameter(0)
  %n = s32[] parameter(1)
  ROOT %y = f32[1,128]{1,0} fusion(%x, %n), kind=kLoop, calls=%slicing
}"""
  assert costs(read_program(text)).bytes == 4 * (128 + 1 + 128)


@pytest.mark.parametrize(
  ("text", "expected"),
  [
    ("replica_groups={{0,1},{2,3}}", [[0, 1], [2, 3]]),
    ("replica_groups={}", [[0, 1, 2, 3, 4, 5, 6, 7]]),
    ("replica_groups=[4,2]<=[8]", [[0, 1], [2, 3], [4, 5], [6, 7]]),
    ("replica_groups=[2,4]<=[4,2]T(1,0)", [[0, 2, 4, 6], [1, 3, 5, 7]]),
    (
      "replica_groups=mesh['a'=4,'b'=2] {'a'}",
      [[0, 2, 4, 6], [1, 3, 5, 7]],
    ),
    (
      "replica_groups=mesh['a'=4,'b'=2], device_ids=([2,4]T(1,0)) {'a'}",
      [[0, 1, 2, 3], [4, 5, 6, 7]],
    ),
    (
      "replica_groups=mesh['a'=8] {'a':(2)2}",
      [[0, 2], [1, 3], [4, 6], [5, 7]],
    ),
    ("source_target_pairs={{0,1},{1,0}}", [[0, 1], [1, 0]]),
  ],
)
def test_groups_are_read_in_every_notation(text, expected):
  assert groups_of(text, 8).tolist() == expected


@pytest.fixture(scope="module")
def mesh():
  return mesh_of(topology("cpu:8"), {"data": 2, "tensor": 4})


def test_collectives_have_their_kind_axis_and_bytes(mesh):
  """A sum over tensor at each of 3 turns, then one over data."""
  put = lambda shape, *spec: jax.ShapeDtypeStruct(
    shape, jnp.float32, sharding=NamedSharding(mesh, PartitionSpec(*spec))
  )
  x, w = put((6, 8), "data", "tensor"), put((8, 8), "tensor", None)

  def function(x, w):
    def step(x, _):
      y = jax.lax.with_sharding_constraint(
        x @ w, NamedSharding(mesh, PartitionSpec("data", None))
      )
      return jnp.sin(y), None

    return jax.lax.scan(step, x, length=3)[0].sum(0)

  found = collectives(compiled(function, x, w), mesh)
  rows = {c.axes: c for c in found if c.kind == "all-reduce"}
  turns = rows["tensor",]
  assert (turns.size, turns.count, turns.bytes) == (4, 3, 3 * (6 // 2) * 8 * 4)
  assert turns.sent == pytest.approx(2 * 3 / 4 * turns.bytes)
  assert (rows["data",].size, rows["data",].count) == (2, 1)


def test_text_without_an_entry_is_refused():
  with pytest.raises(ValueError, match="expected HLO with an ENTRY"):
    read_program("nothing")


def test_a_permutation_moves_along_one_axis(mesh):
  move = lambda x: jax.lax.ppermute(
    x, "tensor", [(i, (i + 1) % 4) for i in range(4)]
  )
  spec = PartitionSpec("tensor")
  shifted = jax.shard_map(move, mesh=mesh, in_specs=spec, out_specs=spec)
  x = jax.ShapeDtypeStruct(
    (8, A), np.float32, sharding=NamedSharding(mesh, spec)
  )
  (found,) = collectives(compiled(shifted, x), mesh)
  assert (found.kind, found.axes, found.bytes) == (
    "collective-permute",
    ("tensor",),
    2 * A * 4,
  )


@pytest.mark.parametrize(
  ("old", "new"),
  [("written_flops", "jaxpr_flops"), ("kept_bytes", "residual_bytes")],
)
def test_an_old_name_is_the_new_function_with_a_warning(old, new):
  with pytest.warns(DeprecationWarning, match=f"use attnjax.plan.{new}"):
    assert getattr(plan, old) is getattr(plan, new)
  with pytest.raises(AttributeError, match="no attribute 'nothing_such'"):
    plan.nothing_such


@pytest.mark.parametrize(
  ("old", "new"), [("best", "seconds_overlapped"), ("apart", "seconds_serial")]
)
def test_an_old_property_of_a_roofline_warns(old, new):
  times = plan.Roofline(2.0, 1.0, 0.5, None, 3.0, 3.0)
  with pytest.warns(DeprecationWarning, match=f"read Roofline.{new}"):
    assert getattr(times, old) == getattr(times, new)


def test_a_kernel_counts_what_it_told_the_compiler():
  told = '"cost_estimate":{"flops":"70","transcendentals":"5",'
  told += '"bytes_accessed":"900","remote_bytes_transferred":"0"}'
  text = f"""
ENTRY %main (p: f32[8,8]) -> f32[8,8] {{
  %p = f32[8,8]{{1,0}} parameter(0)
  ROOT %k = f32[8,8]{{1,0}} custom-call(%p), CALL, backend_config={{{told}}}
}}
"""
  text = text.replace("CALL", 'custom_call_target="tpu_custom_call"')
  found = costs(read_program(text))
  assert (found.flops, found.bytes, found.opaque) == (70.0, 900.0, {})
  silent = costs(read_program(text.replace("cost_estimate", "nothing")))
  assert (silent.flops, silent.bytes) == (0.0, 2 * 8 * 8 * 4)
  assert silent.opaque == {"tpu_custom_call": 1.0}


@pytest.mark.parametrize("implementation", ["blockwise", "fused"])
def test_a_gradient_of_attention_has_the_products_of_its_tiles(implementation):
  x = jnp.ones((2, 512, 4, 128), jnp.bfloat16)
  y = jnp.ones((2, 512, 2, 128), jnp.bfloat16)
  if implementation == "fused":
    implementation = attnjax.Fused(128, 128)

  def forward(query, key, value):
    return attnjax.attend(
      query, key, value, mask=masks.causal(), implementation=implementation
    ).sum()

  with traced_for("tpu:v5e"):
    flops = jaxpr_flops(forward, x, y, y)
    both = jaxpr_flops(jax.grad(forward, (0, 1, 2)), x, y, y)
  pairs = flops / (2 * 2 * 4 * 2 * 128)
  # Of 4 x 4 tiles 10 are not empty; ours as a loop may have larger ones.
  if implementation == "blockwise":
    assert 512 * 513 / 2 <= pairs <= 512**2
    # Of a tile's products one is needed by nothing, as it is written.
    assert both == 4.0 * flops
  else:
    assert pairs == 10 * 128**2
    # Forward has 2 products a tile, backward 5.
    assert both == 3.5 * flops
