"""Tables and the figure of the comparison of memories."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from attnjax.viz import save_lines
from experiments.timing.records import Record
from experiments.timing.rounds import OK
from experiments.timing.tables import Table, mebibytes, note_mark, short

__all__ = ["draw_model", "tables_of"]

_STEPS = {"token": "a token", "chunk": "a chunk"}


def tables_of(found: Mapping[str, Sequence[Record]]) -> list[Table]:
  """The tables of every part that was measured."""
  tables = []

  for part, records in found.items():
    make = {"layer": _layer_tables, "model": _model_tables}
    tables += make.get(part, _chunked_tables)(records)
  return tables


def _layer_tables(records: Sequence[Record]) -> list[Table]:
  """Table of time and memory of one layer, a row a case."""
  labels = ("step", "chunk", "residual", "batch", "length")
  names = list(dict.fromkeys(each["contender"] for each in records))
  rows: list[list[str]] = []
  notes: list[str] = []

  for case, group in _groups(records, labels):
    step, chunk, residual, batch, length = case
    named = f"{_STEPS[step]}{', residual' if residual else ''}"
    cells = [named, str(chunk), f"{batch} x {length}"]
    ran = {each["contender"]: each for each in group}
    # Not every contender takes part in every case.
    for name in names:
      none = ["", ""] if name not in ran else None
      cells += none or [_time(ran[name], notes), _memory(ran[name])]
    rows.append(cells)

  header = ["a step", "C", "B x T"]
  for name in names:
    header += [name, "memory"]
  title = "one layer, output and gradient: time, its ratio to the first's"
  return [Table(title, header, rows, notes)]


def _model_tables(records: Sequence[Record]) -> list[Table]:
  """Tables of time, memory and decoding state of models, a row a length."""
  names = list(dict.fromkeys(each["contender"] for each in records))
  sizes = {each["contender"]: each["parameters"] for each in records}
  columns = {
    "time a token": _per_token,
    "time of a row, its ratio to the first's": _time,
    "XLA's temporary memory": lambda each, _: _memory(each),
    "state of a row in decoding": lambda each, _: f"{each['state_bytes']:,} B",
  }

  tables = []
  for title, cell in columns.items():
    rows: list[list[str]] = []
    notes: list[str] = []
    for (length,), group in _groups(records, ("length",)):
      rows.append([f"{length:,}", *(cell(each, notes) for each in group)])
    tables.append(Table(f"model: {title}", ["T", *names], rows, notes))

  # Below the times a token: that the models are of one size.
  counted = ["parameters", *(f"{sizes[name]:,}" for name in names)]
  tables[0].rows.append(counted)
  return tables


def _chunked_tables(records: Sequence[Record]) -> list[Table]:
  """Table of chunked and sequential reading, a row a rule, pass and size."""
  rows: list[list[str]] = []
  notes: list[str] = []
  labels = ("rule", "mode", "batch", "length")

  for (rule, mode, batch, length), group in _groups(records, labels):
    cells = [rule, mode.replace("_", " with "), f"{batch} x {length}"]
    for each in group:
      cells += [_time(each, notes), _memory(each)]
    rows.append(cells)

  chunk = records[0]["chunk"]
  header = ["rule", "pass", "B x T"]
  header += ["chunked", "memory", "sequential", "memory"]
  return [Table(f"chunk by chunk, C = {chunk}", header, rows, notes)]


def draw_model(path: Path, records: Sequence[Record]) -> Path | None:
  """Figure of microseconds a token over T; None where nobody ran."""
  lines: dict[str, tuple[list, list]] = {}
  for each in records:
    if each["status"] == OK:
      x, y = lines.setdefault(each["contender"], ([], []))
      x.append(each["length"])
      y.append(each["microseconds_per_token"])

  if not lines:
    return None
  return save_lines(
    path,
    lines,
    x_label="length T, tokens",
    y_label="loss and gradient, µs a token",
    log_x=True,
    log_y=True,
  )


def _groups(records: Sequence[Record], labels: tuple[str, ...]) -> list:
  """Groups of records: (values of the labels, records that share them)."""
  found: dict[tuple, list[Record]] = {}
  for each in records:
    found.setdefault(tuple(each[n] for n in labels), []).append(each)
  return list(found.items())


def _time(each: Record, notes: list[str]) -> str:
  """Milliseconds, median ratio and its quartiles, and the mark of a note."""
  mark = note_mark(each, notes)
  if each["status"] != OK:
    return f"-{mark}"
  text = f"{short(each['seconds'] * 1e3)} ms"
  # Of the first itself the ratio is 1.
  if each["ratio"] in (None, 1.0):
    return text + mark
  quartiles = f"{short(each['ratio_low'])}-{short(each['ratio_high'])}"
  return f"{text}, {short(each['ratio'])}x ({quartiles}){mark}"


def _per_token(each: Record, notes: list[str]) -> str:
  """Microseconds a token, and the mark of a note."""
  mark = note_mark(each, notes)
  if each["status"] != OK:
    return f"-{mark}"
  return f"{short(each['microseconds_per_token'])} µs{mark}"


def _memory(each: Record) -> str:
  """MiB beyond arguments and results."""
  size = each["memory_bytes"]
  return "-" if size is None else mebibytes(size)
