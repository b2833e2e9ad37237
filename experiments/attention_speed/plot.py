"""The figures: time over length, and tokens per second."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attnjax.viz import style
from experiments.attention_speed.measure import OK

__all__ = ["draw_model", "draw_times"]

Record = Mapping[str, Any]


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
  colors = _colors(_distinct(records, "contender"))
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
    axes.set_xticks([], minor=True)
  _legend(figure, colors)
  return style.save_figure(figure, path)


def draw_model(path: Path, records: Sequence[Record]) -> Path:
  """Tokens per second, a bar a contender; who did not run has none."""
  figure = style.new_figure(6.0, 0.5 * len(records) + 0.9)
  axes = figure.subplots()
  names = [each["contender"] for each in records]
  values = [each["tokens_per_second"] or 0.0 for each in records]
  bars = axes.barh(names, values, color=style.PALETTE[0], height=0.6)
  labels = [f"{value:,.0f}" if value else "not run" for value in values]
  axes.bar_label(bars, labels, padding=3, fontsize=8)
  axes.invert_yaxis()
  axes.margins(x=0.15)
  style.quiet_axes(axes, sides=("left",))
  axes.set_xlabel(
    "tokens per second, loss and gradient", fontsize=8, color=style.QUIET
  )
  axes.tick_params(labelsize=8)
  return style.save_figure(figure, path)


def _draw_panel(
  axes: Any, records: Sequence[Record], colors: Mapping[str, str]
) -> None:
  """One line a contender that ran."""
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


def _legend(figure: Any, colors: Mapping[str, str]) -> None:
  """One legend for all panels, above them."""
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


def _colors(names: Sequence[str]) -> dict[str, str]:
  """A colour each."""
  return {
    name: style.PALETTE[i % len(style.PALETTE)] for i, name in enumerate(names)
  }


def _distinct(records: Sequence[Record], field: str) -> list[Any]:
  """The values of a field in the order in which they come."""
  return list(dict.fromkeys(each[field] for each in records))
