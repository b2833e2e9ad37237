"""Interleaved timing: in every round each contender has one turn.

A machine that slows down slows all the contenders of a round, so the ratio of
two is formed within a round and its median taken over the rounds.
"""

import dataclasses
import math
import statistics
import time
from collections.abc import Callable, Collection, Mapping, Sequence

from attnjax.config import Config, setting
from experiments.timing.witness import difference

__all__ = [
  "OK",
  "Measured",
  "Prepare",
  "Prepared",
  "Ratio",
  "Refused",
  "RoundsConfig",
  "interleave",
  "measure",
  "median_of_pairs",
]

OK = "ok"
# Contenders sum float32 in other orders; relative to the largest value.
_TOLERANCE = 2e-3
# A turn is as many calls as take this long, seconds, so that what the last
# contender left in the caches does not count; and at most so many calls.
_TURN, _CALLS = 0.01, 100
# Threads of a contender that has answered spin for a moment (OpenMP's do), and
# would take a core from the next one.
_SETTLE = 0.02


@dataclasses.dataclass(frozen=True)
class RoundsConfig(Config):
  """How long is measured; in a round every contender has one turn."""

  seconds: float = setting(
    4.0, "time for the rounds of one case, seconds", at_least=0
  )
  least: int = setting(5, "rounds at least, however long they take", at_least=1)
  most: int = setting(100, "rounds at most", at_least=1)

  def __post_init__(self):
    super().__post_init__()
    if self.least > self.most:
      raise ValueError(
        f"rounds.least must be {self.most} or less, which is rounds.most, got"
        f" {self.least}"
      )


@dataclasses.dataclass(frozen=True)
class Refused:
  """A contender that does not run, and the reason."""

  reason: str


@dataclasses.dataclass(frozen=True)
class Prepared:
  """A contender that is compiled and warm.

  Args:
    call: takes a number of calls to make, returns their mean seconds.
    witness: some values of each result, to compare with those of others.
    compile_seconds: None where nothing is compiled.
    memory_bytes: beyond arguments and results; None where it is not known.
    memory_kind: how `memory_bytes` was found.
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
  """Median and quartiles of a ratio of times."""

  median: float
  low: float
  high: float


@dataclasses.dataclass(frozen=True)
class Measured:
  """Result of one contender.

  Args:
    contender: its name.
    status: "ok", or why there is no time.
    seconds: median of a call.
    ratio: to ours, of the same round; None where ours did not run.
    rounds: how many rounds there were.
    prepared: what is known beside the time; None where it did not run.
  """

  contender: str
  status: str
  seconds: float | None = None
  ratio: Ratio | None = None
  rounds: int = 0
  prepared: Prepared | None = None


Prepare = Callable[[], Prepared | Refused]


def measure(
  prepares: Mapping[str, Prepare],
  rounds: RoundsConfig,
  *,
  ours: str,
  unlike: Collection[str] = (),
  tolerance: float = _TOLERANCE,
) -> list[Measured]:
  """Prepares contenders that do the same, checks that they agree, times them.

  Args:
    prepares: name -> what compiles and warms up that contender.
    rounds: how long to measure.
    ours: name of the contender whose results the others must equal, and
      whose time theirs is divided by.
    unlike: names of contenders that compute something else, and need not
      equal ours.
    tolerance: how far results may be from ours, relative to the largest.

  Returns:
    One row a contender, in the order given, whether it ran or not.
  """
  ready = {name: _prepare(prepare) for name, prepare in prepares.items()}
  expected = ready.get(ours)

  for name, result in ready.items():
    if name in unlike or not isinstance(expected, Prepared):
      continue
    if isinstance(result, Prepared):
      far = difference(result.witness, expected.witness)
      if far > tolerance:
        # A fast wrong answer has no time in any table.
        reason = f"wrong: differs from {ours} by {far:.2g} of the largest"
        ready[name] = Refused(reason)

  calls = {
    name: result.call
    for name, result in ready.items()
    if isinstance(result, Prepared)
  }
  seconds = interleave(calls, rounds)
  return [
    _row(name, result, seconds.get(name), seconds.get(ours))
    for name, result in ready.items()
  ]


def _prepare(prepare: Prepare) -> Prepared | Refused:
  """Prepares a contender; an error is a row that says so, not the end."""
  try:
    return prepare()
  except NotImplementedError as error:
    return Refused(f"cannot: {_first_line(error)}")
  except Exception as error:
    return Refused(f"failed: {_first_line(error)}")


def _first_line(error: BaseException) -> str:
  """Type and first line of an error, short enough for a table."""
  lines = str(error).strip().splitlines() or [""]
  text = lines[0] if len(lines[0]) <= 120 else lines[0][:117] + "..."
  return f"{type(error).__name__}: {text}"


def _row(
  name: str,
  result: Prepared | Refused,
  seconds: list[float] | Refused | None,
  ours: list[float] | Refused | None,
) -> Measured:
  """The row of a contender: its median and ratio, or why there are none."""
  if isinstance(result, Refused):
    return Measured(name, result.reason)
  if isinstance(seconds, Refused):
    return Measured(name, seconds.reason)
  if not seconds:
    raise RuntimeError(f"{name} was prepared and had no turn")

  ratio = median_of_pairs(seconds, ours) if isinstance(ours, list) else None
  middle = statistics.median(seconds)
  return Measured(name, OK, middle, ratio, len(seconds), result)


def median_of_pairs(theirs: Sequence[float], ours: Sequence[float]) -> Ratio:
  """Median and quartiles over the rounds of the ratio theirs / ours."""
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
  """Times contenders in rounds, as many as the config gives time for.

  Args:
    calls: name -> a function from a number of calls to their mean seconds.
    rounds: how long to measure.
    clock: seconds, of which only differences count.
    settle: seconds to wait after each turn.

  Returns:
    Seconds of each round, by name. A contender whose process dies is `Refused`
    from then on, and the others go on.
  """
  found: dict[str, list[float] | Refused] = {name: [] for name in calls}
  repeats: dict[str, int] = {}
  names = list(calls)
  start = clock()

  # Round -1 has one call each and is not counted: it tells how many calls make
  # a turn.
  for done in range(-1, rounds.most):
    if done >= rounds.least and clock() - start >= rounds.seconds:
      break
    if done == 0:
      start = clock()

    # Another one begins each time: nobody always follows the same one.
    first = done % len(names) if names else 0
    for name in names[first:] + names[:first]:
      seconds = found[name]
      if isinstance(seconds, Refused):
        continue
      try:
        took = calls[name](repeats.get(name, 1))
      except ChildProcessError as error:
        found[name] = Refused(str(error))
        continue

      if done < 0:
        turn = math.ceil(_TURN / max(took, 1e-9))
        repeats[name] = max(1, min(_CALLS, turn))
      else:
        seconds.append(took)
      time.sleep(settle)

  return found
