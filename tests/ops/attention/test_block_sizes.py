"""Which blocks are chosen: by cost, number of threads, heads and platform."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import attnjax
from attnjax.ops.attention.block_sizes import choose_blocks, tile_cost
from attnjax.ops.target import target_platform

LENGTH = 2048


def chosen(threads=1, *, heads=8, group=1, length=LENGTH, batch=1, **given):
  """The blocks of a causal call, whose tiles above the diagonal are empty."""

  def live(query, key, heads):
    del heads  # all see the same
    last = np.arange(query - 1, length + query - 1, query)
    first = np.arange(0, length, key)
    return float((first <= last[:, None]).sum())

  return choose_blocks(
    (batch, heads, length, length),
    group=group,
    width=64,
    cost=tile_cost("cpu", threads),
    footprint=1,
    live=live,
    **given,
  )


def test_one_thread_wants_tiles_that_its_cache_holds():
  blocks = chosen(1)
  logits = blocks.rows * blocks.heads * blocks.query * blocks.key
  assert logits <= tile_cost("cpu", 1).cache
  assert blocks.query <= 256 >= blocks.key


def test_two_threads_want_products_that_they_can_share():
  blocks = chosen(2)
  assert blocks.query * blocks.key >= tile_cost("cpu", 2).shared


def test_many_short_rows_share_a_tile():
  assert chosen(1, length=32, batch=64).rows > 1


@pytest.mark.parametrize(("heads", "group"), [(8, 1), (8, 2), (8, 8), (6, 3)])
def test_a_tile_has_whole_key_heads_or_a_part_of_one(heads, group):
  for size in range(1, heads + 1):
    whole = size % group == 0 or group % size == 0
    if heads % size == 0 and whole:
      assert chosen(heads=heads, group=group, head=size).heads == size
      continue
    with pytest.raises(ValueError, match=f"head_block must be.*got {size}"):
      chosen(heads=heads, group=group, head=size)


def test_attend_names_the_heads_that_it_cannot_cut():
  x = jnp.zeros((4, 6, 2))
  with pytest.raises(ValueError, match=r"head_block must be one of \[1, 2, 3"):
    attnjax.attend(x, x, x, implementation=attnjax.Blockwise(head_block=4))


def test_no_heads_and_no_rows_have_blocks():
  assert chosen(heads=0, batch=0, length=1).rows == 1


def test_the_platform_is_that_of_the_mesh_and_not_of_python():
  assert target_platform() == jax.default_backend()
  seen = []

  def step(x):
    seen.append(target_platform(x))
    return x

  mesh = jax.sharding.AbstractMesh(
    (2,),
    ("data",),
    abstract_device=jax.sharding.AbstractDevice("TPU v5e", 1, "tpu"),
  )
  with jax.sharding.use_abstract_mesh(mesh):
    jax.jit(step).trace(jax.ShapeDtypeStruct((2,), np.float32))
  assert seen == ["tpu"]
