"""Tables of the static cost of attention on TPUs."""

import importlib.metadata
from collections.abc import Mapping, Sequence

from experiments.attention_speed.tpu_calls import PEERS, TpuCase
from experiments.timing.records import Record
from experiments.timing.rounds import OK
from experiments.timing.tables import Table, mebibytes, note_mark

__all__ = ["tpu_tables", "versions"]

_HEADER = [
  "case",
  "fused, us",
  "matrix units",
  *(f"{name}, us" for name in PEERS),
  "fused / best",
  "whole, us",
  "blockwise, us",
  "blockwise / whole",
  "temporary",
  "of blockwise",
]


def tpu_tables(records: Sequence[Record]) -> list[Table]:
  """A table a chip: kernels beside the peers', whole programs beside ours."""
  chips: dict[str, dict[TpuCase, dict[str, Record]]] = {}
  for each in records:
    case = TpuCase(
      each["name"],
      each["kind"],
      int(each["length"]),
      int(each["width"]),
      int(each["heads"]),
    )
    cases = chips.setdefault(each["chip"], {})
    cases.setdefault(case, {})[each["contender"]] = each

  tables = []
  for chip, cases in chips.items():
    notes: list[str] = []
    rows = [_row(case, line, notes) for case, line in cases.items()]
    tables.append(Table(f"TPU {chip}", _HEADER, rows, notes))
  return tables


def versions(*names: str) -> dict[str, str]:
  """The versions that static figures are of."""
  found = {}
  for name in names or ("jax", "libtpu", "tokamax"):
    try:
      found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
      found[name] = "none"
  return found


def _row(
  case: TpuCase, line: Mapping[str, Record], notes: list[str]
) -> list[str]:
  """The cells of a case."""
  fused, blockwise = line.get("fused"), line.get("blockwise")
  peers = [line.get(name) for name in PEERS]
  times = [_of(x, "kernels_us") for x in peers]
  best = min((x for x in times if x is not None), default=None)
  ours, whole = _of(fused, "kernels_us"), _of(fused, "whole_us")
  loops = _of(blockwise, "whole_us")
  share = _of(fused, "matrix")
  return [
    case.title,
    _number(ours) + _mark(fused, notes),
    "-" if share is None else f"{share:.0%}",
    *(
      _number(_of(x, "kernels_us"))
      + (f" ({x['blocks']})" if x and _ran(x) else "")
      + _mark(x, notes)
      for x in peers
    ),
    _ratio(ours, best),
    _number(whole),
    _number(loops) + _mark(blockwise, notes),
    _ratio(loops, whole),
    *(
      "-" if (size := _of(x, "temporary")) is None else mebibytes(int(size))
      for x in (fused, blockwise)
    ),
  ]


def _mark(each: Record | None, notes: list[str]) -> str:
  """The letter of a record's note."""
  return note_mark(each, notes) if each else ""


def _ran(each: Record | None) -> bool:
  """Whether a record has figures."""
  return each is not None and each["status"] == OK


def _of(each: Record | None, field: str) -> float | None:
  """A figure of a record; None where it has none."""
  if each is None or each["status"] != OK or each[field] in (None, ""):
    return None
  return float(each[field])


def _number(value: float | None) -> str:
  """Microseconds."""
  return "-" if value is None else f"{value:.0f}"


def _ratio(value: float | None, other: float | None) -> str:
  """How many times another one a value is."""
  return "-" if not value or not other else f"{value / other:.2f}"
