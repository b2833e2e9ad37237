"""Batches: a pure function of the step, every row in its turn."""

import pickle
import subprocess
import sys

import chex
import numpy as np
import pytest

from attnjax.data import Examples, evaluation_batches, pack, train_batches

BOUNDARY = 0


def _packed(rows=11, length=5):
  return pack([np.arange(1, rows * length + 1)], BOUNDARY, length)


def _first_tokens(batch) -> list[int]:
  """The second token of each row names the row."""
  return batch["tokens"][:, 1].tolist()


def _order(batches, steps) -> list[int]:
  return [row for step in steps for row in _first_tokens(batches(step))]


def test_a_batch_is_rows_of_the_house():
  packed = _packed()
  batch = train_batches(packed, batch_size=3, seed=0)(0)
  chex.assert_shape(list(batch.values()), (3, 5))
  assert {name: array.dtype.name for name, array in batch.items()} == {
    "tokens": "int32",
    "targets": "int32",
    "weights": "float32",
    "positions": "int32",
    "segment_ids": "int32",
  }
  rows = {row["tokens"].tobytes(): row for row in packed}
  for number in range(3):
    row = {name: array[number] for name, array in batch.items()}
    chex.assert_trees_all_equal(row, rows[row["tokens"].tobytes()])


def test_an_epoch_has_each_row_once_even_across_batches():
  batches = train_batches(_packed(rows=11), batch_size=3, seed=7)
  order = _order(batches, range(11))  # three epochs of eleven rows
  names = sorted(set(order))
  assert len(names) == 11
  epochs = [order[start : start + 11] for start in (0, 11, 22)]
  assert [sorted(epoch) for epoch in epochs] == [names] * 3


def test_epochs_and_seeds_have_orders_of_their_own():
  batches = train_batches(_packed(), batch_size=11, seed=7)
  others = train_batches(_packed(), batch_size=11, seed=8)
  orders = [_first_tokens(batches(step)) for step in range(5)]
  orders += [_first_tokens(others(0)), sorted(orders[0])]
  assert len({tuple(order) for order in orders}) == len(orders)


def test_the_step_alone_decides():
  run = train_batches(_packed(), batch_size=3, seed=7)
  straight = [run(step) for step in range(17)]
  resumed = train_batches(_packed(), batch_size=3, seed=7)
  for step in (16, 5, 5, 0):
    chex.assert_trees_all_equal(resumed(step), straight[step])
  copy = pickle.loads(pickle.dumps(run))
  chex.assert_trees_all_equal(copy(np.int64(12)), straight[12])


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_processes_read_the_rows_of_one_batch(parts):
  examples = Examples({"x": np.arange(13)})
  for rows in (_packed(), examples):
    batches = train_batches(rows, batch_size=6, seed=7)
    size = 6 // parts
    for step in (0, 5):  # the second begins in one epoch and ends in the next
      read = [
        batches.rows(step, size * part, size * (part + 1))
        for part in range(parts)
      ]
      for name, whole in batches(step).items():
        together = np.concatenate([part[name] for part in read])
        np.testing.assert_array_equal(together, whole)


def test_steps_go_on_for_ever():
  batches = train_batches(_packed(), batch_size=3, seed=7)
  chex.assert_shape(batches(10**9)["tokens"], (3, 5))


def test_a_text_of_fewer_rows_than_a_batch_repeats():
  batches = train_batches(_packed(rows=2), batch_size=5, seed=7)
  assert len(set(_first_tokens(batches(0)))) == 2


@pytest.mark.parametrize(
  ("batch_size", "seed", "name"),
  [(0, 0, "batch_size"), (1, -1, "seed"), (1, 2**32, "seed")],
)
def test_settings_out_of_range_are_refused(batch_size, seed, name):
  with pytest.raises(ValueError, match=name):
    train_batches(_packed(), batch_size, seed)


def test_a_negative_step_is_refused():
  with pytest.raises(ValueError, match="step"):
    train_batches(_packed(), batch_size=3, seed=0)(-1)


@pytest.mark.parametrize("batch_size", [1, 3, 11, 13])
def test_evaluation_has_each_row_once_in_one_shape(batch_size):
  packed = _packed(rows=11)
  batches = evaluation_batches(packed, batch_size)
  rows = [
    {name: array[number] for name, array in batch.items()}
    for batch in batches
    for number in range(batch_size)
  ]
  assert len(rows) == len(batches) * batch_size < 11 + batch_size
  chex.assert_trees_all_equal(rows[:11], list(packed))
  for padding in rows[11:]:
    assert not padding["weights"].any()
    assert not padding["segment_ids"].any()
  assert len({batch["tokens"].shape for batch in batches}) == 1


def test_evaluation_counts_each_token_once_with_overlap():
  packed = pack([np.arange(1, 38), np.arange(1, 24)], BOUNDARY, 7, stride=3)
  batches = evaluation_batches(packed, batch_size=5)
  assert sum(batch["weights"].sum() for batch in batches) == 37 + 23


def test_evaluation_batches_are_a_sequence():
  batches = evaluation_batches(_packed(), batch_size=3)
  chex.assert_trees_all_equal(batches[-1], batches[len(batches) - 1])
  chex.assert_trees_all_equal(batches[1:3], [batches[1], batches[2]])
  with pytest.raises(IndexError, match="batch 4"):
    batches[4]
  with pytest.raises(ValueError, match="batch_size"):
    evaluation_batches(_packed(), batch_size=0)


def test_the_room_opens_without_its_extras():
  code = (
    "import sys, attnjax.data;print(sorted({'tokenizers'} & set(sys.modules)))"
  )
  result = subprocess.run(
    [sys.executable, "-W", "error", "-c", code],
    capture_output=True,
    text=True,
    check=True,
  )
  assert result.stdout.strip() == "[]"
