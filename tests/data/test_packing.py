"""Packed rows: every token is predicted once, and sees its document only."""

import tracemalloc

import chex
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnjax.data import ByteTokenizer, pack

BOUNDARY = 256


@st.composite
def _cases(draw):
  """Documents of which no two share a token, and how to cut rows from them."""
  sizes = draw(st.lists(st.integers(0, 19), min_size=1, max_size=7))
  sizes[draw(st.integers(0, len(sizes) - 1))] += 13
  stops = np.cumsum(sizes)
  tokens = np.arange(stops[-1], dtype=np.int32)
  documents = np.split(tokens, stops[:-1])
  length = draw(st.integers(1, min(13, len(tokens))))
  stride = draw(st.none() | st.integers(1, length))
  return documents, length, stride


def _pack(case):
  documents, length, stride = case
  return pack(documents, BOUNDARY, length, stride)


def _stacked(packed):
  rows = list(packed)
  return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def _owners(documents):
  """Which document each token belongs to."""
  return np.repeat(np.arange(len(documents)), [len(d) for d in documents])


@settings(deadline=None)
@given(_cases())
def test_arrays_have_the_shape_and_type_of_the_house(case):
  packed = _pack(case)
  rows = _stacked(packed)
  chex.assert_shape(list(rows.values()), (len(packed), packed.length))
  types = {name: array.dtype for name, array in rows.items()}
  assert types.pop("weights") == np.float32
  assert set(types) == {"tokens", "targets", "positions", "segment_ids"}
  assert set(types.values()) == {np.dtype(np.int32)}


@settings(deadline=None)
@given(_cases())
def test_every_token_is_a_target_once_and_in_order(case):
  documents, packed = case[0], _pack(case)
  rows = _stacked(packed)
  counted = rows["targets"][rows["weights"] == 1]
  chex.assert_trees_all_equal(counted, np.concatenate(documents))
  assert rows["weights"].sum() == packed.token_count == len(counted)
  assert set(np.unique(rows["weights"])) <= {0.0, 1.0}


@settings(deadline=None)
@given(_cases())
def test_documents_can_be_read_from_the_rows(case):
  documents, packed = case[0], _pack(case)
  if packed.stride != packed.length:
    return
  rows = _stacked(packed)
  real = rows["segment_ids"] > 0
  stream = np.concatenate([[BOUNDARY], rows["targets"][real]])
  places = np.flatnonzero(stream == BOUNDARY)
  found = [part[1:] for part in np.split(stream, places[1:])]
  chex.assert_trees_all_equal(found, documents)
  chex.assert_trees_all_equal(rows["tokens"][real], stream[:-1])


@settings(deadline=None)
@given(_cases())
def test_a_target_is_the_next_token_of_the_same_document(case):
  documents, packed = case[0], _pack(case)
  owners = _owners(documents)
  for row in packed:
    real = row["segment_ids"] > 0
    chex.assert_trees_all_equal(
      row["targets"][:-1][real[1:]], row["tokens"][1:][real[1:]]
    )
    for token, target, weight in zip(
      row["tokens"], row["targets"], row["weights"], strict=True
    ):
      if weight and token == BOUNDARY:
        # The first of its document, or the boundary would not be before it.
        assert target == 0 or owners[target] != owners[target - 1]
      elif weight:
        assert target == token + 1
        assert owners[target] == owners[token]


@settings(deadline=None)
@given(_cases())
def test_a_segment_is_a_piece_of_one_document(case):
  documents, packed = case[0], _pack(case)
  owners = _owners(documents)
  for row in packed:
    segments = row["segment_ids"]
    real = segments[segments > 0]
    assert real[0] == 1
    assert set(np.diff(real)) <= {0, 1}
    assert not segments[len(real) :].any()
    for segment in np.unique(real):
      inside = row["tokens"][segments == segment]
      assert BOUNDARY not in inside[1:]
      tokens = inside[inside != BOUNDARY]
      assert len(set(owners[tokens])) <= 1


@settings(deadline=None)
@given(_cases())
def test_positions_begin_at_zero_in_each_segment(case):
  packed = _pack(case)
  for row in packed:
    for segment in np.unique(row["segment_ids"]):
      positions = row["positions"][row["segment_ids"] == segment]
      chex.assert_trees_all_equal(
        positions, np.arange(len(positions), dtype=np.int32)
      )


@settings(deadline=None)
@given(_cases())
def test_overlapping_rows_give_each_target_its_context(case):
  packed = _pack(case)
  for row in list(packed)[1:]:
    counted = np.flatnonzero(row["weights"])
    assert (counted >= packed.length - packed.stride).all()


def test_rows_by_hand():
  packed = pack([np.array([1, 2, 3]), np.array([4])], boundary=9, length=4)
  first, last = packed
  assert len(packed) == 2
  expected = {
    "tokens": [9, 1, 2, 3],
    "targets": [1, 2, 3, 9],
    "weights": [1, 1, 1, 0],
    "positions": [0, 1, 2, 3],
    "segment_ids": [1, 1, 1, 1],
  }
  assert {name: array.tolist() for name, array in first.items()} == expected
  expected = {
    "tokens": [9, 9, 9, 9],  # one opens the document, three are padding
    "targets": [4, 9, 9, 9],
    "weights": [1, 0, 0, 0],
    "positions": [0, 0, 1, 2],
    "segment_ids": [1, 0, 0, 0],
  }
  assert {name: array.tolist() for name, array in last.items()} == expected


def test_overlapping_rows_by_hand():
  packed = pack([np.arange(1, 7)], boundary=9, length=4, stride=2)
  tokens = [row["tokens"].tolist() for row in packed]
  weights = [row["weights"].tolist() for row in packed]
  assert tokens == [[9, 1, 2, 3], [2, 3, 4, 5]]
  assert weights == [[1, 1, 1, 1], [0, 0, 1, 1]]


def test_rows_are_counted_from_both_ends():
  packed = pack([np.arange(23)], BOUNDARY, length=5)
  chex.assert_trees_all_equal(packed[-1], packed[len(packed) - 1])
  chex.assert_trees_all_equal(packed[np.int64(1)], packed[1])
  for index in (len(packed), -len(packed) - 1):
    with pytest.raises(IndexError, match="row"):
      packed[index]


def test_a_vocabulary_beyond_two_bytes_is_kept():
  document = np.array([70_000, 3, 2**31 - 1])
  small = np.array([5, 7], np.uint8)
  rows = _stacked(pack([small, document], boundary=65_536, length=2))
  assert rows["targets"][rows["weights"] == 1].tolist() == [
    *small,
    *document,
  ]


def test_a_text_of_just_one_row_is_enough():
  packed = pack([np.arange(7)], BOUNDARY, length=7)
  assert len(packed) == 1
  assert packed[0]["weights"].tolist() == [1] * 7


@pytest.mark.parametrize("documents", [[], [np.arange(3), np.arange(3)]])
def test_a_text_shorter_than_one_row_is_refused(documents):
  with pytest.raises(ValueError, match=r"fewer than one sequence of.*length=7"):
    pack(documents, BOUNDARY, length=7)


@pytest.mark.parametrize(("length", "stride"), [(5, 6), (5, 0), (0, None)])
def test_a_stride_that_leaves_gaps_is_refused(length, stride):
  with pytest.raises(ValueError, match="stride"):
    pack([np.arange(11)], BOUNDARY, length, stride)


def test_a_document_with_a_boundary_inside_is_refused():
  with pytest.raises(ValueError, match="number 1 contains the boundary"):
    pack([np.arange(7), np.array([1, BOUNDARY])], BOUNDARY, length=5)


def test_a_negative_id_is_refused():
  with pytest.raises(ValueError, match="contains the id -1"):
    pack([np.array([3, -1, 2])], BOUNDARY, length=2)


@pytest.mark.parametrize("count", [1, 600])
def test_twelve_megabytes_fit_in_two_hundred(count):
  text = bytes(12_000_000 // count)
  ids = (ByteTokenizer().encode(text) for _ in range(count))
  tracemalloc.start()
  packed = pack(ids, BOUNDARY, length=256)
  _, peak = tracemalloc.get_traced_memory()
  tracemalloc.stop()
  assert packed.token_count == 12_000_000
  assert peak < 200e6
