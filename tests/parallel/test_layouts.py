"""Layouts by their laws: what is permuted comes back, and work is shared."""

import jax
import numpy as np
import pytest
from laid_out import KINDS, LAYOUTS, devices

import attnjax
from attnjax import masks, parallel
from attnjax.parallel.token_layouts import token_order


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shards", [1, 2, 5])
def test_unpermute_is_the_inverse_on_every_axis(layout, shards):
  x = np.arange(3 * 14 * shards).reshape(3, -1)
  for axis, y in ((-1, x), (0, x.T)):
    moved = parallel.permute(y, layout, shards, axis)
    assert (parallel.unpermute(moved, layout, shards, axis) == y).all()
    assert sorted(moved.ravel()) == sorted(y.ravel())
    assert isinstance(moved, np.ndarray)  # known while a program is traced


def test_the_orders_are_those_of_the_papers():
  # Zigzag: shard i holds the pieces i and 2n - 1 - i of 2n.
  pieces = [0, 1, 10, 11, 2, 3, 8, 9, 4, 5, 6, 7]
  assert token_order("zigzag", 12, 3).tolist() == pieces
  # Striped: token t stands on shard t mod n.
  assert (token_order("striped", 15, 5) % 5).tolist() == [
    shard for shard in range(5) for _ in range(3)
  ]


def work(kind, layout, mask, shards=8, length=512, block=8):
  """The tiles that each device computes."""
  attention = KINDS[kind](devices(sequence=shards), "sequence", layout)
  place = attention.permute(np.arange(length, dtype=np.int32))
  found = []

  def ask(x):
    found.append(
      attention.work(
        x,
        x,
        x,
        mask=mask,
        query_positions=place,
        key_positions=place,
        implementation=attnjax.Blockwise(block, block),
      )
    )

  jax.eval_shape(ask, jax.ShapeDtypeStruct((length, 8, 4), "float32"))
  return found[0]


def test_zigzag_balances_causal_work_exactly():
  # 64 blocks of 8, of which query block i sees i + 1: 64 · 65 / 2 tiles.
  tiles = work("ring", "zigzag", masks.causal())
  assert tiles.tolist() == [64 * 65 // 16] * 8


def test_striped_balances_causal_work_and_contiguous_does_not():
  striped = work("ring", "striped", masks.causal())
  assert striped.max() <= 1.05 * striped.mean()
  contiguous = work("ring", "contiguous", masks.causal())
  # The last device sees 57 to 64 blocks, the mean is 32.5.
  assert contiguous.max() / contiguous.mean() == 60.5 / 32.5


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_skips_what_a_window_hides(kind):
  tiles = work(kind, "contiguous", masks.sliding_window(8))
  # A block sees itself and the one before it; the first only itself. Heads
  # are divided by ulysses, so that each device has all the tiles.
  every = 64 * 2 - 1
  assert tiles.sum() == (8 * every if kind == "ulysses" else every)
