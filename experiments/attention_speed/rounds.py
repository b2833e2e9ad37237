"""Measuring in rounds: every contender has a turn in each, in turning order.

A machine that slows down slows all the contenders of a round, so the ratio of
two is formed within a round and its median taken over the rounds.
"""

import dataclasses
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence

from experiments.attention_speed.config import RoundsConfig

__all__ = [
  "Prepared",
  "Ratio",
  "Refused",
  "difference",
  "interleave",
  "median_of_pairs",
]

# A turn is as many calls as take this long, so that what the last contender
# left in the caches does not count; at most so many.
_TURN, _CALLS = 0.01, 100
# Threads of a contender that has answered spin for a moment (OpenMP's do), and
# would take a core from the next one.
_SETTLE = 0.02


@dataclasses.dataclass(frozen=True)
class Refused:
  """What a contender says who does not run: why."""

  reason: str


@dataclasses.dataclass(frozen=True)
class Prepared:
  """A contender that is compiled, warm and ready.

  Args:
    call: takes a number of calls to make, returns their mean seconds.
    witness: some values of each result, to compare with those of others.
    compile_seconds: None where nothing is compiled.
    memory_bytes: beyond arguments and results; None where it is not known.
    memory_kind: what `memory_bytes` is.
    note: how it does what was asked, where that matters.
  """

  call: Callable[[int], float]
  witness: Sequence[Sequence[float]]
  compile_seconds: float | None = None
  memory_bytes: int | None = None
  memory_kind: str = ""
  note: str = ""


@dataclasses.dataclass(frozen=True)
class Ratio:
  """Median and quartiles of a ratio."""

  median: float
  low: float
  high: float


def median_of_pairs(theirs: Sequence[float], ours: Sequence[float]) -> Ratio:
  """The ratio theirs / ours within each round, its median and quartiles."""
  ratios = [x / y for x, y in zip(theirs, ours, strict=True)]
  if len(ratios) == 1:
    return Ratio(ratios[0], ratios[0], ratios[0])
  low, median, high = statistics.quantiles(ratios, n=4, method="inclusive")
  return Ratio(median, low, high)


def interleave(
  calls: Mapping[str, Callable[[int], float]],
  rounds: RoundsConfig,
  *,
  clock: Callable[[], float] = time.perf_counter,
  settle: float = _SETTLE,
) -> dict[str, list[float] | Refused]:
  """Seconds of each contender in each round, as many rounds as time allows.

  A contender whose process dies is refused from then on; the others go on.
  """
  found: dict[str, list[float] | Refused] = {name: [] for name in calls}
  repeats: dict[str, int] = {}
  start = clock()
  for done in range(-1, rounds.most):
    if done >= rounds.least and clock() - start >= rounds.seconds:
      break
    if done == 0:
      start = clock()
    for name in _turned(list(calls), done):
      seconds = found[name]
      if isinstance(seconds, Refused):
        continue
      try:
        took = calls[name](repeats.get(name, 1))
      except ChildProcessError as error:
        found[name] = Refused(str(error))
        continue
      if done < 0:  # tells only how many calls make a turn
        repeats[name] = _calls_in_a_turn(took)
      else:
        seconds.append(took)
      time.sleep(settle)
  return found


def _turned(names: list[str], by: int) -> list[str]:
  """The names, begun at another one each time."""
  first = by % len(names) if names else 0
  return names[first:] + names[:first]


def _calls_in_a_turn(seconds: float) -> int:
  """How many calls take as long as a turn should."""
  return max(1, min(_CALLS, math.ceil(_TURN / max(seconds, 1e-9))))


def difference(
  theirs: Sequence[Sequence[float]], ours: Sequence[Sequence[float]]
) -> float:
  """Largest difference of two witnesses, of the largest value of each array.

  What is not finite differs infinitely.
  """
  if len(theirs) != len(ours):
    raise ValueError(
      f"witnesses: {len(theirs)} arrays cannot be compared with {len(ours)}"
    )
  worst = 0.0
  for their, our in zip(theirs, ours, strict=True):
    scale = max(map(abs, our)) or 1.0
    for x, y in zip(their, our, strict=True):
      far = abs(x - y) / scale
      worst = max(worst, far if math.isfinite(far) else math.inf)
  return worst
