"""Rows that go on where those of the batch before ended."""

import pickle

import numpy as np
import pytest

from attnjax.data import carried_batches, pack

LENGTHS = (7, 3, 12, 1, 0, 5, 8)


def packed(length=3):
  """Documents of other tokens each: the n-th has 100 n + 1, 100 n + 2 ..."""
  documents = [np.arange(1, n + 1) + 100 * k for k, n in enumerate(LENGTHS)]
  return pack(documents, 0, length=length)


def read(batches, lane, steps):
  """The targets of a lane that count, a list a document."""
  documents = []
  for step in range(steps):
    batch = batches(step)
    if batch["begins"][lane]:
      documents.append([])
    counted = batch["weights"][lane] > 0
    documents[-1] += batch["targets"][lane][counted].tolist()
  return documents


@pytest.mark.parametrize("lanes", [1, 2, 4])
def test_a_lane_reads_documents_from_beginning_to_end(lanes):
  batches = carried_batches(packed(), lanes, seed=3)
  for lane in range(lanes):
    *whole, _ = read(batches, lane, steps=20)  # the last one may be cut
    for document in whole:
      number = document[0] // 100
      assert document == list(
        range(100 * number + 1, 100 * number + LENGTHS[number] + 1)
      )


def test_an_epoch_has_every_document_once_in_an_order_of_its_own():
  rows = sum(-(-n // 3) for n in LENGTHS)
  batches = carried_batches(packed(), 1, seed=0)
  documents = read(batches, 0, steps=2 * rows)
  numbers = [document[0] // 100 for document in documents]
  first, second = numbers[: len(numbers) // 2], numbers[len(numbers) // 2 :]
  assert sorted(first) == sorted(second) == [0, 1, 2, 3, 5, 6]
  assert first != second


def test_the_first_token_is_the_boundary_and_a_row_goes_on_with_its_last():
  batches = carried_batches(packed(), 2, seed=0)
  for step in range(12):
    batch, after = batches(step), batches(step + 1)
    assert (batch["tokens"][batch["begins"], 0] == 0).all()
    on = ~after["begins"]
    np.testing.assert_array_equal(
      after["tokens"][on, 0], batch["targets"][on, -1]
    )


def test_a_batch_is_a_function_of_its_step_alone():
  one, other = (carried_batches(packed(), 3, seed=5) for _ in range(2))
  last = one(9)
  for step in (9, 0, 9):
    for name, x in other(step).items():
      np.testing.assert_array_equal(x, one(step)[name])
  kept = pickle.loads(pickle.dumps(one))
  np.testing.assert_array_equal(kept(9)["tokens"], last["tokens"])
  part = one.rows(9, 1, 3)
  np.testing.assert_array_equal(part["tokens"], last["tokens"][1:])


def test_what_cannot_be_carried_is_refused():
  with pytest.raises(ValueError, match="batch_size: expected 1 or more, got 0"):
    carried_batches(packed(), 0, seed=0)
  with pytest.raises(ValueError, match=r"seed: expected a number in \[0, 2"):
    carried_batches(packed(), 1, seed=-1)
  over = pack([np.arange(1, 9)], 0, length=4, stride=2)
  with pytest.raises(ValueError, match="rows that go on must not overlap"):
    carried_batches(over, 1, seed=0)
  with pytest.raises(ValueError, match="step: expected 0 or more, got -1"):
    carried_batches(packed(), 1, seed=0)(-1)
