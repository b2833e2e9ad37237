"""Tables of times, on the terminal and in Markdown, with lettered notes."""

import dataclasses
import importlib.util
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box, console
from rich import table as rich_table

from attnjax.config import to_dict
from experiments.timing import machine
from experiments.timing.records import Record
from experiments.timing.rounds import OK

__all__ = [
  "Table",
  "begin",
  "markdown",
  "mebibytes",
  "note_mark",
  "short",
  "show",
  "write_tables",
]


@dataclasses.dataclass(frozen=True)
class Table:
  """A title, a header, rows of text, and notes that cells refer to."""

  title: str
  header: list[str]
  rows: list[list[str]]
  notes: list[str]


def begin(workdir: Path, config: Any, experiment: str) -> None:
  """Makes the directory of a run and writes its config there.

  Raises:
    ImportError: names the extra that brings matplotlib.
  """
  # Now, and not when hours of measuring are to be drawn.
  if importlib.util.find_spec("matplotlib") is None:
    raise ImportError("the figures need matplotlib: pip install 'attnjax[viz]'")

  workdir.mkdir(parents=True, exist_ok=True)
  values = {"experiment": experiment, "config": to_dict(config)}
  text = json.dumps(values, indent=2)
  (workdir / "config.json").write_text(text + "\n")


def write_tables(
  workdir: Path,
  tables: Sequence[Table],
  torch_version: str | None,
  rates: Mapping[str, float] | None = None,
  facts: Mapping[str, str] | None = None,
) -> Path:
  """Prints tables and writes them to `table.md`, below a line on the machine.

  Args:
    workdir: of the run.
    tables: in order.
    torch_version: of the PyTorch process; None where it did not run.
    rates: FLOP/s of matrix products, by name.
    facts: what the figures are of, by name; None is this machine.
  """
  known: dict[str, str | int] = dict(facts or machine.describe(torch_version))
  for name, rate in (rates or {}).items():
    known[f"matmul of {name}"] = f"{rate / 1e9:.0f} GFLOP/s"
  line = ", ".join(f"{name} {value}" for name, value in known.items())

  print(f"\n{line}")
  for table in tables:
    show(table)

  path = workdir / "table.md"
  # Times mean nothing without the machine that they are of.
  parts = [f"Measured on: {line}.\n", *map(markdown, tables)]
  path.write_text("\n".join(parts), encoding="utf-8")
  return path


def markdown(table: Table) -> str:
  """A table in Markdown, its notes below."""
  lines = [f"**{table.title}**", ""]
  rule = ["---", *["---:"] * (len(table.header) - 1)]
  for cells in (table.header, rule, *table.rows):
    lines.append("| " + " | ".join(cells) + " |")
  lines += ["", *_lettered(table.notes, "- ({}) {}")]
  return "\n".join(lines).strip() + "\n"


def show(table: Table) -> None:
  """Prints a table, its notes below."""
  shown = rich_table.Table(title=table.title, box=box.SIMPLE)
  for index, name in enumerate(table.header):
    shown.add_column(name, justify="right" if index else "left", no_wrap=True)
  for row in table.rows:
    shown.add_row(*row)

  out = console.Console(markup=False, highlight=False)
  # A log has no width of its own: cells are never cut.
  wide = out.measure(shown, options=out.options.update(width=1000)).maximum
  out.width = max(out.width, wide)
  out.print(shown)
  for line in _lettered(table.notes, "  ({}) {}"):
    out.print(line, soft_wrap=True)


def _lettered(notes: list[str], form: str) -> list[str]:
  """Lines of notes, each with its letter."""
  return [form.format(_letter(i), note) for i, note in enumerate(notes)]


def _letter(index: int) -> str:
  """a, b, c...; numbers when the alphabet is used up."""
  return chr(ord("a") + index) if index < 26 else str(index)


def note_mark(each: Record, notes: list[str], *, noted: bool = True) -> str:
  """The letter of a record's note, or of why it has no time: ` (a)`.

  Args:
    each: a record.
    notes: of the table; grows with a text that is new.
    noted: False leaves out the notes of contenders that ran.
  """
  ran = each["status"] == OK
  text = each["note"] if ran else each["status"]
  if not text or (ran and not noted):
    return ""
  if text not in notes:
    notes.append(text)
  return f" ({_letter(notes.index(text))})"


def mebibytes(size: int) -> str:
  """A number of bytes in MiB."""
  return f"{short(size / 2**20)} MiB"


def short(value: float) -> str:
  """A number with about three digits: `0.12`, `12.3`, `1,234`."""
  if value < 10:
    return f"{value:.2f}"
  return f"{value:.1f}" if value < 100 else f"{value:,.0f}"
