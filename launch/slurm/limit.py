"""Notice that a SLURM job gets before its time limit, to save.

SLURM sends the signal to save at a set time before the limit, and up to a
minute earlier; a limit is a whole number of minutes. A job whose limit is too
short would get the signal as it starts, be requeued, and get it again.
"""

import math
import re
from collections.abc import Mapping, Sequence

from launch.quoting import sbatch_option

__all__ = ["NOTICE", "limit_of", "notice_of"]

NOTICE = 120  # seconds to save in, where the limit leaves them
EARLY = 60  # seconds by which the signal may come before its time
LEAST = 60  # seconds to run in before the signal
SHORTEST = 30  # of a notice that a save can be hoped for in

_TIMES = (
  r"(?P<minutes>\d+)(:(?P<seconds>\d+))?",
  r"(?P<hours>\d+):(?P<minutes>\d+):(?P<seconds>\d+)",
  r"(?P<days>\d+)-(?P<hours>\d+)(:(?P<minutes>\d+)(:(?P<seconds>\d+))?)?",
)
_SECONDS = {"days": 86400, "hours": 3600, "minutes": 60, "seconds": 1}


def notice_of(extra: Sequence[str], environment: Mapping[str, str]) -> int:
  """Seconds between the signal to save and the time limit of a job.

  Args:
    extra: options of sbatch; the last value of a repeated option counts.
    environment: of sbatch, whose `SBATCH_TIMELIMIT` overrides `--time` in a
      script.

  Raises:
    ValueError: the limit leaves no time to run before the signal.

  >>> notice_of(["--time=4:00:00"], {}), notice_of(["--time=3"], {})
  (120, 60)
  >>> notice_of(["--time=1"], {})
  Traceback (most recent call last):
  ValueError: sbatch: expected a time limit of 3 minutes or more, got 1: a job
  is told to save before its end, and would be told so as it starts; give
  --sbatch=--time=5
  """
  given = {name: value for name, _, value in map(sbatch_option, extra)}
  texts = [
    environment.get("SBATCH_TIMELIMIT") or given.get("--time", given.get("-t")),
    given.get("--time-min"),  # to which the scheduler may lower it
  ]
  limit = min((limit_of(text) for text in texts if text), default=math.inf)
  # Variables of sbatch go before the options in a script.
  own = environment.get("SBATCH_SIGNAL") or given.get("--signal")
  seconds = NOTICE if own is None else _seconds_of(own)
  # What may be notice: the signal comes up to EARLY seconds too soon, and a job
  # must have LEAST seconds to run before it.
  left = limit - EARLY - LEAST
  if own is not None and seconds > left:
    raise ValueError(
      f"sbatch: expected a signal that leaves time to run, got --signal={own}"
      f" and a limit of {limit:.0f} seconds, of which {EARLY + LEAST} are not"
      " to be had; raise --time, or leave --signal out"
    )

  if left < SHORTEST:
    raise ValueError(
      "sbatch: expected a time limit of 3 minutes or more, got"
      f" {limit // 60:.0f}: a job is told to save before its end, and would be"
      " told so as it starts; give --sbatch=--time=5"
    )

  return int(min(seconds, left))


def limit_of(text: str) -> float:
  """Seconds of a time limit, rounded to minutes as SLURM does.

  Args:
    text: as sbatch takes it: minutes, minutes:seconds, hours:minutes:seconds,
      days-hours, days-hours:minutes, days-hours:minutes:seconds, or for ever:
      0, -1, UNLIMITED.

  Raises:
    ValueError: it is none of these.

  >>> limit_of("0:30"), limit_of("1-0"), limit_of("UNLIMITED")
  (60.0, 86400.0, inf)
  """
  if text.upper() in ("INFINITE", "UNLIMITED", "-1", "0"):
    return math.inf

  for form in _TIMES:
    # ASCII: \d alone matches the digits of every script.
    if found := re.fullmatch(form, text, re.ASCII):
      parts = {
        name: int(value or 0) for name, value in found.groupdict().items()
      }
      total = sum(_SECONDS[name] * value for name, value in parts.items())
      # To SLURM a limit of 0 is none.
      return 60.0 * math.ceil(total / 60) or math.inf

  raise ValueError(
    "sbatch: expected a time limit such as 30, 4:00:00 or 1-12, got"
    f" {text!r}; give --sbatch=--time=4:00:00"
  )


def _seconds_of(signal: str) -> int:
  """Seconds of `[{R|B}:]<signal>[@<seconds>]`; sbatch's default is 60."""
  found = re.fullmatch(
    r"([RB]{1,2}:)?\w+(@(?P<seconds>\d+))?", signal, re.ASCII
  )
  if found is None:
    raise ValueError(
      f"sbatch: expected a signal such as TERM@120, got {signal!r}; leave it"
      " out: a job is told to save by itself"
    )
  return 60 if found["seconds"] is None else int(found["seconds"])
