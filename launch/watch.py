"""Watches runs in a terminal, from the JSON lines that they write.

python -m launch.watch runs/language_model/tiny
python -m launch.watch runs/sweeps/depth --metric=bits_per_byte

It only reads. Over ssh: `ssh -t host 'cd project && .venv/bin/python -m
launch.watch runs'`; without a terminal it prints a plain table now and then.
"""

import datetime
import io
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from attnjax.extras import needs_extra
from attnjax.viz import visible
from launch.watched_run import WatchedRun, find_runs, ordered

if TYPE_CHECKING:
  from rich.table import Table

__all__ = ["run_table", "watch"]

_BARS = "▁▂▃▄▅▆▇█"
_LINE = 16  # characters of a curve
_WIDTH = 150  # characters, where there is no terminal
_ENDLESS = 1e10  # seconds, three hundred years
_NEEDS = (140, 125, 110, 95, 80)  # characters, for the columns that are spare


def define(values: flags.FlagValues) -> None:
  """Defines the flags."""
  text: dict[str, Any] = {"flag_values": values}
  flags.DEFINE_string("metric", "loss", "of evaluations, to sort by", **text)
  flags.DEFINE_boolean("descending", False, "the largest is best", **text)
  flags.DEFINE_float("every", 2.0, "seconds between looks", 0.1, **text)
  flags.DEFINE_boolean("once", False, "look once, and end", **text)
  flags.DEFINE_boolean("help", False, "show this", **text)


def main(argv: Sequence[str], stream: Any = None) -> int:
  """Reads the command line and watches; returns the exit code.

  Args:
    argv: program name, and directories of runs among the flags.
    stream: what is written to; None is standard output.
  """
  values = flags.FlagValues()
  define(values)
  # A curve is drawn in Unicode: a terminal that has none shows "?".
  out = sys.stdout if stream is None else stream
  if isinstance(out, io.TextIOWrapper):
    out.reconfigure(errors="replace")
  try:
    places = [Path(x).expanduser() for x in values(list(argv))[1:]]
    if values.help:
      print(f"{__doc__}\n{values.get_help(include_special_flags=False)}")
      return 0
    if not places:
      raise ValueError("expected directories of runs, got none")
    missing = [str(x) for x in places if not x.is_dir()]
    if missing:
      raise ValueError(f"no such directory: {', '.join(missing)}")
    watch(
      places,
      metric=values.metric,
      descending=values.descending,
      every=values.every,
      once=values.once,
      stream=stream,
    )
  except (flags.Error, ValueError, ImportError) as error:
    print(f"error: {error}", file=sys.stderr)
    return 1
  except KeyboardInterrupt:
    return 0
  except BrokenPipeError:
    # Its reader has seen enough; else Python says so once more as it exits.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1
  return 0


def watch(
  places: Sequence[Path],
  *,
  metric: str = "loss",
  descending: bool = False,
  every: float = 2.0,
  once: bool = False,
  stream: Any = None,
) -> None:
  """Shows the runs below some directories until all are done.

  Args:
    places: directories.
    metric: number of evaluations that the table is sorted by.
    descending: whether the largest is the best.
    every: seconds between two looks.
    once: looks once.
    stream: what is written to; None is standard output.

  Raises:
    ValueError: `once`, and there is no run.
    ImportError: rich is missing.
  """
  with needs_extra("metrics", "a table that is redrawn needs rich"):
    from rich.console import Console
    from rich.live import Live

  stream = sys.stdout if stream is None else stream
  terminal = stream.isatty()
  console = Console(file=stream, width=None if terminal else _WIDTH)
  known: dict[Path, WatchedRun] = {}
  names_of = lambda runs: {name for run in runs for name in run.names}

  def look() -> "Table":
    for found in find_runs(places):
      known.setdefault(found.path, found)
    for run in known.values():
      run.refresh()
    runs = ordered(list(known.values()), metric, descending=descending)
    table = run_table(runs, metric, width=console.width)
    if (names := names_of(known.values())) and metric not in names:
      table.caption = f"no {metric!r} yet; there are {', '.join(sorted(names))}"
    return table

  done = lambda: bool(known) and all(run.is_done for run in known.values())
  table = look()
  if once and not known:
    raise ValueError(
      f"no metrics.jsonl below {', '.join(map(str, places))}; a run writes it"
      " with its first record"
    )
  names = names_of(known.values())
  if once and names and metric not in names:
    raise ValueError(
      f"metric: there are {', '.join(sorted(names))}, got {metric!r}"
    )
  if once or not terminal:
    console.print(table)
    while not (once or done()):
      time.sleep(every)
      console.print(look())
    return

  with Live(table, console=console, auto_refresh=False) as screen:
    screen.refresh()
    while not done():
      time.sleep(every)
      screen.update(look(), refresh=True)


def run_table(
  runs: Sequence[WatchedRun],
  metric: str,
  *,
  width: int = _WIDTH,
  now: float | None = None,
) -> "Table":
  """A `rich` table of runs, one a line.

  Args:
    runs: in the order to show.
    metric: of evaluations.
    width: characters there are; of a narrow terminal columns are left out.
    now: seconds since the epoch; None is the clock's.

  >>> run_table([], "loss").columns[4].header
  'eval loss'
  """
  from rich.table import Table
  from rich.text import Text

  columns: tuple[str, ...]
  columns = ("run", "step", "loss", "", f"eval {metric}", "learning rate")
  columns += ("gradient", "tokens/s", "left", "written")
  # What a narrow terminal can do without, the first to go first.
  spare = ("learning rate", "gradient", "written", "", "tokens/s")
  gone = {
    name for name, need in zip(spare, _NEEDS, strict=True) if width < need
  }
  table = Table(box=None, pad_edge=False, header_style="bold")
  for name in columns:
    if name not in gone:
      table.add_column(
        name,
        justify="left" if name in ("run", "") else "right",
        no_wrap=name != "run",
        overflow="fold",
      )

  for run in runs:
    cells = [
      # As text: a name is no markup of rich, nor a terminal's.
      visible(run.name, longest=None),
      f"{run.step:,}" + (f"/{run.steps:,}" if run.steps else ""),
      _number(run.latest("loss")),
      curve(run.losses),
      _number(run.metric(metric)),
      _number(run.latest("learning_rate")),
      _number(run.latest("gradient_norm")),
      _number(run.latest("tokens_per_second"), ",.0f"),
      "done" if run.is_done else _time(run.seconds_left),
      "never" if run.age(now) is None else f"{_time(run.age(now))} ago",
    ]
    style = "dim" if run.is_done else ""
    shown = zip(columns, cells, strict=True)
    table.add_row(*(Text(x, style=style) for n, x in shown if n not in gone))
  return table


def curve(values: Sequence[float | None], width: int = _LINE) -> str:
  """Numbers as a line of bars, the last one at the right.

  Args:
    values: in order; None leaves a gap.
    width: characters; of more values each stands for a few, by their mean.

  >>> curve([4.0, 3.0, None, 1.0, 0.0])
  '█▆ ▃▁'
  """
  size = -(-len(values) // width) if values else 1
  means: list[float | None] = []
  for start in range(0, len(values), size):
    some = [x for x in values[start : start + size] if x is not None]
    means.append(sum(some) / len(some) if some else None)

  known = [x for x in means if x is not None]
  low, high = min(known, default=0.0), max(known, default=0.0)
  scale = (len(_BARS) - 1) / (high - low) if high > low else 0.0
  return "".join(
    " " if x is None else _BARS[int((x - low) * scale + 0.5)] for x in means
  )


def _number(value: float | None, form: str = ".4g") -> str:
  """A number as text; a dash where there is none."""
  return "–" if value is None else format(value, form)


def _time(seconds: float | None) -> str:
  """Hours, minutes and seconds; a question mark where they are not known."""
  if seconds is None or seconds > _ENDLESS:
    return "?"
  return str(datetime.timedelta(seconds=round(seconds)))


if __name__ == "__main__":
  sys.exit(main(sys.argv))
