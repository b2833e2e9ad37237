"""Examples in memory and their batches by step."""

import numpy as np
import pytest

from attnjax import data


def examples(count=7):
  x = np.arange(count)
  return data.Examples({"x": x, "y": 10 * x})


def test_every_epoch_holds_each_example_once_in_an_order_of_its_own():
  batches = data.train_batches(examples(), 5, seed=3)
  drawn = np.concatenate([batches(step)["x"] for step in range(7)])
  epochs = drawn.reshape(5, 7)
  np.testing.assert_array_equal(np.sort(epochs), np.tile(np.arange(7), (5, 1)))
  assert len({tuple(epoch) for epoch in epochs}) > 1


def test_the_batch_is_a_pure_function_of_step_and_seed():
  one, two = (data.train_batches(examples(), 3, seed=5) for _ in range(2))
  later = one(9)
  one(0)
  np.testing.assert_array_equal(later["x"], two(9)["x"])
  np.testing.assert_array_equal(later["y"], 10 * later["x"])
  other = data.train_batches(examples(), 3, seed=6)
  assert any((one(s)["x"] != other(s)["x"]).any() for s in range(5))


def test_a_batch_may_be_larger_than_the_epoch():
  (batch,) = [data.train_batches(examples(3), 8, seed=0)(0)["x"]]
  np.testing.assert_array_equal(np.sort(batch[:3]), np.arange(3))
  np.testing.assert_array_equal(np.sort(batch[3:6]), np.arange(3))


def test_evaluation_counts_every_example_once():
  batches = data.evaluation_batches(examples(), 3)
  assert [batch["x"].shape for batch in batches] == [(3,)] * 3
  assert sum(batch["weights"].sum() for batch in batches) == 7
  np.testing.assert_array_equal(batches[-1]["weights"], [1, 0, 0])


def test_weights_that_are_given_are_kept():
  weights = np.float32([[1, 0], [1, 1]])
  rows = data.Examples({"x": np.zeros(2), "weights": weights})
  np.testing.assert_array_equal(rows[1]["weights"], [1, 1])
  np.testing.assert_array_equal(rows.padding["weights"], [0, 0])


@pytest.mark.parametrize("arrays", [{}, {"x": np.array(1.0)}])
def test_no_first_axis_is_refused(arrays):
  with pytest.raises(ValueError, match="a first axis that all share"):
    data.Examples(arrays)


def test_bad_input_is_named():
  with pytest.raises(ValueError, match="a first axis that all share"):
    data.Examples({"x": np.zeros(2), "y": np.zeros(3)})
  with pytest.raises(ValueError, match="there is none"):
    data.train_batches(data.Examples({"x": np.zeros(0)}), 1, seed=0)(0)
  with pytest.raises(ValueError, match="batch_size"):
    data.train_batches(examples(), 0, seed=0)
  with pytest.raises(ValueError, match="step"):
    data.train_batches(examples(), 1, seed=0)(-1)
