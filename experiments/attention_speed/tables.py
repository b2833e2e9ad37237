"""Tables to read, on the terminal and in Markdown; what is missing says why."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from experiments.attention_speed.measure import OK

__all__ = ["Table", "attention_tables", "markdown", "model_table", "show"]

Record = Mapping[str, Any]
_TITLES = {
  "forward": "forward",
  "forward_backward": "forward with backward",
}


@dataclasses.dataclass(frozen=True)
class Table:
  """A title, a header, rows of text, and notes that cells refer to."""

  title: str
  header: list[str]
  rows: list[list[str]]
  notes: list[str]


def attention_tables(records: Sequence[Record]) -> list[Table]:
  """Time, memory and compile time of each pass and head width."""
  groups: dict[tuple[str, int], list[Record]] = {}
  for each in records:
    groups.setdefault((each["mode"], each["head_width"]), []).append(each)
  tables = []
  for (mode, width), group in groups.items():
    for what, cell in _CELLS.items():
      title = f"{_TITLES[mode]}, D = {width}: {what}"
      tables.append(_pivot(title, group, cell))
  return tables


def model_table(records: Sequence[Record]) -> Table:
  """Tokens per second of each contender."""
  notes: list[str] = []
  rows = []
  for each in records:
    cells = [each["contender"]]
    for cell in (_tokens, _time, _memory, _compile):
      cells.append(cell(each) if each["status"] == OK else "-")
    cells[1] += _mark(each, notes)
    rows.append(cells)
  header = ["loss and gradient", "tokens/s", "a step", "memory", "compile"]
  return Table("the language model", header, rows, notes)


def markdown(table: Table) -> str:
  """The table in Markdown, its notes below."""
  lines = [f"**{table.title}**", ""]
  rule = ["---", *["---:"] * (len(table.header) - 1)]
  for cells in (table.header, rule, *table.rows):
    lines.append("| " + " | ".join(cells) + " |")
  lines += ["", *_lettered(table.notes, "- ({}) {}")]
  return "\n".join(lines).strip() + "\n"


def show(table: Table) -> None:
  """Prints the table: by rich where it is installed, else as plain text."""
  try:
    from rich import box, console
    from rich import table as rich_table
  except ImportError:
    _show_plain(table)
    return
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


def _show_plain(table: Table) -> None:
  """Columns aligned by spaces."""
  columns = zip(table.header, *table.rows, strict=True)
  widths = [max(map(len, column)) for column in columns]
  print(f"\n{table.title}")
  for row in (table.header, *table.rows):
    cells = zip(row, widths, strict=True)
    print("  ".join(text.ljust(width) for text, width in cells).rstrip())
  print(*_lettered(table.notes, "  ({}) {}"), sep="\n")


def _lettered(notes: list[str], form: str) -> list[str]:
  """Notes with their letters."""
  return [form.format(_letter(i), note) for i, note in enumerate(notes)]


def _letter(index: int) -> str:
  """a, b, c...; numbers when the alphabet is used up."""
  return chr(ord("a") + index) if index < 26 else str(index)


def _pivot(
  title: str, records: Sequence[Record], cell: Callable[[Record], str]
) -> Table:
  """A row a case and length, a column a contender."""
  names = list(dict.fromkeys(each["contender"] for each in records))
  lines: dict[tuple, dict[str, Record]] = {}
  # Cases together, their lengths below each other.
  order = list(dict.fromkeys(each["case"] for each in records))
  for each in sorted(records, key=lambda r: order.index(r["case"])):
    line = lines.setdefault((each["case"], each["length"]), {})
    line[each["contender"]] = each
  notes: list[str] = []
  rows = []
  for (case, length), line in lines.items():
    cells = [
      (cell(line[n]) if line[n]["status"] == OK else "-")
      + _mark(line[n], notes, noted=cell is _time)
      for n in names
    ]
    rows.append([case, str(length), *cells])
  return Table(title, ["case", "T", *names], rows, notes)


def _mark(each: Record, notes: list[str], *, noted: bool = True) -> str:
  """A letter that refers to why there is no time, or to a note."""
  ran = each["status"] == OK
  text = each["note"] if ran else each["status"]
  if not text or (ran and not noted):
    return ""
  if text not in notes:
    notes.append(text)
  return f" ({_letter(notes.index(text))})"


def _time(each: Record) -> str:
  """Milliseconds, and how many times ours; of ours the fraction of products."""
  text = f"{_short(each['seconds'] * 1e3)} ms"
  fraction = each.get("matmul_fraction")
  if each["contender"] == "attnjax" and fraction is not None:
    return f"{text}, {fraction:.0%}"
  if each["ratio"] is None or each["contender"] == "attnjax":
    return text
  return f"{text}, {each['ratio']:.2f}x"


def _memory(each: Record) -> str:
  """MiB beyond arguments and results."""
  size = each["memory_bytes"]
  return "?" if size is None else f"{_short(size / 2**20)} MiB"


def _compile(each: Record) -> str:
  """Seconds to compile."""
  seconds = each["compile_seconds"]
  return "none" if seconds is None else f"{_short(seconds)} s"


def _tokens(each: Record) -> str:
  """Tokens per second."""
  return f"{each['tokens_per_second']:,.0f}"


def _short(value: float) -> str:
  """Three digits or so."""
  if value < 10:
    return f"{value:.2f}"
  return f"{value:.1f}" if value < 100 else f"{value:,.0f}"


_CELLS: dict[str, Callable[[Record], str]] = {
  "time, and ratio to attnjax (attnjax: share of the matmul rate)": _time,
  "memory": _memory,
  "compile time": _compile,
}
