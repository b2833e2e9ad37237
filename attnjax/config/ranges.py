"""Intervals of numbers that a setting may have."""

import dataclasses
import math
from typing import Any

__all__ = ["Range"]


@dataclasses.dataclass(frozen=True)
class Range:
  """An interval of numbers; each end is open, closed or unlimited.

  Infinities and NaN lie in no range, and neither do integers that 64 bits do
  not hold: no array could have them.

  Args:
    at_least: the least number, itself allowed; None is no limit.
    above: the least number, itself not allowed.
    at_most: the largest number, itself allowed.
    below: the largest number, itself not allowed.

  Raises:
    ValueError: two limits on one side.

  >>> import math
  >>> Range(at_least=0, below=1).refusal(1.0)
  'must be in [0, 1)'
  >>> Range(at_least=1).refusal(0), Range().refusal(math.nan)
  ('must be at least 1', 'must be a finite number')
  >>> Range(above=0).refusal(0.5) is None
  True
  """

  at_least: int | float | None = None
  above: int | float | None = None
  at_most: int | float | None = None
  below: int | float | None = None

  def __post_init__(self):
    ends = (self.at_least, self.above), (self.at_most, self.below)
    if any(None not in end for end in ends):
      raise ValueError(f"range: must have one limit on a side, got {self!r}")

  def refusal(self, value: Any) -> str | None:
    """Error words for a number outside of the interval; None for one inside."""
    if isinstance(value, float) and not math.isfinite(value):
      return "must be a finite number"
    # The least int64 to the largest uint64.
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
      return "must be an integer of 64 bits"

    inside = (
      (self.at_least is None or value >= self.at_least)
      and (self.above is None or value > self.above)
      and (self.at_most is None or value <= self.at_most)
      and (self.below is None or value < self.below)
    )

    return None if inside else f"must be {self}"

  def __str__(self) -> str:
    """`at least 1`, `in [0, 1)` and the like; nothing where all is allowed."""
    # At most one limit an end is set, see `__post_init__`.
    low = self.at_least if self.above is None else self.above
    high = self.at_most if self.below is None else self.below
    if low is not None and high is not None:
      left = "[" if self.above is None else "("
      right = "]" if self.below is None else ")"
      return f"in {left}{_text(low)}, {_text(high)}{right}"

    for word, limit in (
      ("at least", self.at_least),
      ("above", self.above),
      ("at most", self.at_most),
      ("below", self.below),
    ):
      if limit is not None:
        return f"{word} {_text(limit)}"

    return ""


def _text(limit: int | float) -> str:
  """A limit in words; 2**32, the limit of seeds, as a power."""
  return "2**32" if limit == 2**32 else f"{limit:g}"
