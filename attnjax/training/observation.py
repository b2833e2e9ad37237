"""What is seen of a model beside its evaluation."""

from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["Observation"]


class Observation(NamedTuple):
  """What is seen of a model beside its evaluation.

  Args:
    scalars: name -> a number.
    pictures: name -> uint8 ``Y X 3``.

  >>> Observation({"entropy": 0.5}, {}).scalars
  {'entropy': 0.5}
  """

  scalars: Mapping[str, float]
  pictures: Mapping[str, Any]
