"""A ring is a closed walk along wires."""

import itertools
from typing import NamedTuple

import numpy as np
import pytest

from attnjax.parallel.mesh import circuit, in_rings


class Chip(NamedTuple):
  coords: tuple[int, int, int]


def chips(*shape):
  places = itertools.product(*map(range, shape))
  found = [Chip(place) for place in places]
  np.random.default_rng(0).shuffle(found)
  return [Chip(tuple(map(int, x))) for (x,) in found]


def apart(one, other):
  return sum(abs(a - b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(("rows", "columns"), [(2, 2), (2, 5), (5, 4), (7, 6)])
def test_a_circuit_is_closed_and_visits_every_place_once(rows, columns):
  walk = circuit(rows, columns)
  assert len(set(walk)) == len(walk) == rows * columns
  assert all(
    apart(a, b) == 1 for a, b in zip(walk, walk[1:] + walk[:1], strict=True)
  )


@pytest.mark.parametrize(
  ("shape", "size"),
  [
    ((4, 4, 1), 16),
    ((8, 8, 1), 64),
    ((8, 8, 1), 8),
    ((2, 4, 1), 2),
    ((4, 4, 4), 64),
    ((4, 4, 8), 16),
  ],
)
def test_each_so_many_chips_are_a_ring_of_neighbours(shape, size):
  ordered = in_rings(chips(*shape), size)
  assert sorted(ordered) == sorted(chips(*shape))
  for start in range(0, len(ordered), size):
    part = ordered[start : start + size]
    for a, b in zip(part, part[1:] + part[:1], strict=True):
      assert apart(a.coords, b.coords) == 1


def test_where_there_is_no_ring_there_is_no_order():
  assert in_rings([object(), object()], 2) is None
  assert in_rings(chips(3, 3, 1), 9) is None  # an odd circuit does not close
  assert in_rings(chips(4, 4, 1)[1:], 3) is None  # a grid with a hole
