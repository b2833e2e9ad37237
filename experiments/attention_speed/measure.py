"""One group of contenders who do the same thing, measured together."""

import dataclasses
import statistics
from collections.abc import Callable, Collection, Mapping

from experiments.attention_speed.config import RoundsConfig
from experiments.attention_speed.rounds import (
  Prepared,
  Ratio,
  Refused,
  difference,
  interleave,
  median_of_pairs,
)

__all__ = ["OK", "Measured", "measure"]

OK = "ok"
# float32, other orders of summation; of the largest value of an array.
_TOLERANCE = 2e-3

Prepare = Callable[[], Prepared | Refused]


@dataclasses.dataclass(frozen=True)
class Measured:
  """What came of one contender.

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


def measure(
  prepares: Mapping[str, Prepare],
  rounds: RoundsConfig,
  *,
  ours: str,
  unlike: Collection[str] = (),
) -> list[Measured]:
  """Prepares every contender, checks that they agree, then times them.

  Args:
    prepares: name -> what compiles and warms up that contender.
    rounds: how long to measure.
    ours: name of the contender whose results the others must equal, and
      whose time theirs is set in relation to.
    unlike: contenders who compute something else, for which their rows have
      to account; they need not be equal.

  Returns:
    One row a contender, in the order given, whether it ran or not.
  """
  ready = {name: _prepare(prepare) for name, prepare in prepares.items()}
  expected = ready.get(ours)
  if isinstance(expected, Prepared):
    for name in ready.keys() - {*unlike}:
      ready[name] = _checked(ready[name], expected, ours)
  calls = {
    name: result.call
    for name, result in ready.items()
    if isinstance(result, Prepared)
  }
  seconds = interleave(calls, rounds)
  ours_seconds = seconds.get(ours)
  return [
    _row(name, result, seconds.get(name), ours_seconds)
    for name, result in ready.items()
  ]


def _row(
  name: str,
  result: Prepared | Refused,
  seconds: list[float] | Refused | None,
  ours: list[float] | Refused | None,
) -> Measured:
  """What came of one contender: a time, or why there is none."""
  if isinstance(result, Refused):
    return Measured(name, result.reason)
  if isinstance(seconds, Refused):
    return Measured(name, seconds.reason)
  if not seconds:
    raise RuntimeError(f"{name} was prepared and had no turn")
  ratio = median_of_pairs(seconds, ours) if isinstance(ours, list) else None
  middle = statistics.median(seconds)
  return Measured(name, OK, middle, ratio, len(seconds), result)


def first_line(error: BaseException) -> str:
  """What an error says first, short enough for a table."""
  lines = str(error).strip().splitlines() or [""]
  text = lines[0] if len(lines[0]) <= 120 else lines[0][:117] + "..."
  return f"{type(error).__name__}: {text}"


def _prepare(prepare: Prepare) -> Prepared | Refused:
  """A contender that breaks is a row that says how, not the end of the run."""
  try:
    return prepare()
  except NotImplementedError as error:
    return Refused(f"cannot: {first_line(error)}")
  except Exception as error:
    return Refused(f"failed: {first_line(error)}")


def _checked(
  result: Prepared | Refused, expected: Prepared, ours: str
) -> Prepared | Refused:
  """The result, refused where it is not what ours is."""
  if isinstance(result, Refused):
    return result
  far = difference(result.witness, expected.witness)
  if far > _TOLERANCE:
    return Refused(f"wrong: differs from {ours} by {far:.2g} of the largest")
  return result
