"""Tables and figures of the comparison of attention calls and models."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from attnjax.viz import style
from experiments.timing.records import Record
from experiments.timing.rounds import OK
from experiments.timing.tables import Table, mebibytes, note_mark, short

if TYPE_CHECKING:
  import matplotlib.axes
  import matplotlib.figure

__all__ = ["attention_tables", "draw_model", "draw_times", "model_table"]

_TITLES = {
  "forward": "forward",
  "forward_backward": "forward with backward",
}


def attention_tables(records: Sequence[Record]) -> list[Table]:
  """Tables of time, memory and compile time, for each pass and head width."""
  groups: dict[tuple[str, int], list[Record]] = {}
  for each in records:
    groups.setdefault((each["mode"], each["head_width"]), []).append(each)

  return [
    _pivot(f"{_TITLES[mode]}, D = {width}: {what}", group, cell)
    for (mode, width), group in groups.items()
    for what, cell in _CELLS.items()
  ]


def model_table(records: Sequence[Record]) -> Table:
  """Table of tokens per second, time, memory and compile time of models."""
  notes: list[str] = []
  rows = []
  for each in records:
    cells = [each["contender"]]
    for cell in (_tokens, _time, _memory, _compile):
      cells.append(cell(each) if each["status"] == OK else "-")
    cells[1] += note_mark(each, notes)
    rows.append(cells)

  header = ["loss and gradient", "tokens/s", "a step", "memory", "compile"]
  return Table("the language model", header, rows, notes)


def _pivot(
  title: str, records: Sequence[Record], cell: Callable[[Record], str]
) -> Table:
  """A table of a row a case and length, a column a contender."""
  names = _distinct(records, "contender")
  lines: dict[tuple, dict[str, Record]] = {}
  # Records come length by length; in the table the lengths of a case follow
  # one another.
  order = _distinct(records, "case")
  for each in sorted(records, key=lambda r: order.index(r["case"])):
    line = lines.setdefault((each["case"], each["length"]), {})
    line[each["contender"]] = each

  notes: list[str] = []
  rows = []
  for (case, length), line in lines.items():
    cells = [
      (cell(line[n]) if line[n]["status"] == OK else "-")
      # Notes on how it was done stand in the first of the three tables.
      + note_mark(line[n], notes, noted=cell is _time)
      for n in names
    ]
    rows.append([case, str(length), *cells])
  return Table(title, ["case", "T", *names], rows, notes)


def _time(each: Record) -> str:
  """Milliseconds and ratio to attnjax; of attnjax, share of the matmul rate."""
  text = f"{short(each['seconds'] * 1e3)} ms"
  fraction = each.get("matmul_fraction")
  if each["contender"] == "attnjax" and fraction is not None:
    return f"{text}, {fraction:.0%}"
  if each["ratio"] is None or each["contender"] == "attnjax":
    return text
  return f"{text}, {each['ratio']:.2f}x"


def _memory(each: Record) -> str:
  """MiB beyond arguments and results."""
  size = each["memory_bytes"]
  return "?" if size is None else mebibytes(size)


def _compile(each: Record) -> str:
  """Seconds to compile."""
  seconds = each["compile_seconds"]
  return "none" if seconds is None else f"{short(seconds)} s"


def _tokens(each: Record) -> str:
  """Tokens per second."""
  return f"{each['tokens_per_second']:,.0f}"


_CELLS: dict[str, Callable[[Record], str]] = {
  "time, and ratio to attnjax (attnjax: share of the matmul rate)": _time,
  "memory": _memory,
  "compile time": _compile,
}


def draw_times(path: Path, records: Sequence[Record]) -> Path:
  """Seconds over T, log-log: a column a case, a row a pass and head width."""
  cases = _distinct(records, "case")
  lines = list(
    dict.fromkeys((each["mode"], each["head_width"]) for each in records)
  )
  figure = style.new_figure(2.6 * len(cases) + 0.6, 2.5 * len(lines) + 0.7)
  grid = figure.subplots(
    len(lines), len(cases), squeeze=False, sharex=True, sharey="row"
  )
  # A contender has one colour in all panels.
  colors = {
    name: style.PALETTE[i % len(style.PALETTE)]
    for i, name in enumerate(_distinct(records, "contender"))
  }

  for axes_row, (mode, width) in zip(grid, lines, strict=True):
    for axes, case in zip(axes_row, cases, strict=True):
      shown = [
        each
        for each in records
        if (each["case"], each["mode"], each["head_width"])
        == (case, mode, width)
      ]
      _draw_panel(axes, shown, colors)
      axes.set_title(f"{case}, {mode}, D = {width}", fontsize=7.5)
    axes_row[0].set_ylabel("seconds", fontsize=8, color=style.QUIET)

  lengths = sorted(_distinct(records, "length"))
  for axes in grid[-1]:
    axes.set_xlabel("T", fontsize=8, color=style.QUIET)
    axes.set_xticks(lengths, list(map(str, lengths)), rotation=45)
    # Or a logarithmic axis labels powers of 2 between the lengths.
    axes.set_xticks([], minor=True)
  _draw_legend(figure, colors)
  return style.save_figure(figure, path)


def _draw_panel(
  axes: "matplotlib.axes.Axes",
  records: Sequence[Record],
  colors: Mapping[str, str],
) -> None:
  """Draws a line for each contender that ran."""
  axes.set_xscale("log", base=2)
  axes.set_yscale("log")
  style.quiet_axes(axes, sides=("left", "bottom"))
  axes.tick_params(which="both", labelsize=7)
  axes.grid(axis="y", color="#f0f0f0", linewidth=0.8)

  for name, color in colors.items():
    points = [
      (each["length"], each["seconds"])
      for each in records
      if each["contender"] == name and each["status"] == OK
    ]
    if points:
      ours = name.startswith("attnjax")
      axes.plot(
        *zip(*sorted(points), strict=True),
        color=color,
        linewidth=1.8 if ours else 1.1,
        linestyle="--" if name.endswith("jvp") else "-",
        marker="o",
        markersize=3,
      )


def _draw_legend(
  figure: "matplotlib.figure.Figure", colors: Mapping[str, str]
) -> None:
  """Draws one legend for all panels, above them."""
  from matplotlib.lines import Line2D

  lines = [
    Line2D([], [], color=color, label=name, marker="o", markersize=3)
    for name, color in colors.items()
  ]
  figure.legend(
    handles=lines,
    loc="outside upper center",
    ncols=len(lines),
    fontsize=8,
    frameon=False,
  )


def draw_model(path: Path, records: Sequence[Record]) -> Path:
  """Tokens per second, a bar a contender; who did not run has none."""
  figure = style.new_figure(6.0, 0.5 * len(records) + 0.9)
  axes = figure.subplots()

  names = [each["contender"] for each in records]
  # A bar of length 0 keeps the row of who did not run.
  values = [each["tokens_per_second"] or 0.0 for each in records]
  bars = axes.barh(names, values, color=style.PALETTE[0], height=0.6)
  labels = [f"{value:,.0f}" if value else "not run" for value in values]
  axes.bar_label(bars, labels, padding=3, fontsize=8)

  axes.invert_yaxis()  # the first contender on top, as in the table
  axes.margins(x=0.15)
  style.quiet_axes(axes, sides=("left",))
  axes.set_xlabel(
    "tokens per second, loss and gradient", fontsize=8, color=style.QUIET
  )
  axes.tick_params(labelsize=8)
  return style.save_figure(figure, path)


def _distinct(records: Sequence[Record], field: str) -> list:
  """Values of a field in the order in which they first occur."""
  return list(dict.fromkeys(each[field] for each in records))
