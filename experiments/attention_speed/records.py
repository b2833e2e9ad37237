"""What was measured, as flat records: for CSV, tables and figures."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.attention_speed.measure import OK, Measured

__all__ = ["record", "summary", "write_csv"]


def record(row: Measured, **labels: Any) -> dict[str, Any]:
  """One flat record: labels first; what is not known is None."""
  ratio, prepared = row.ratio, row.prepared
  return {
    **labels,
    "contender": row.contender,
    "status": row.status,
    "seconds": row.seconds,
    "ratio": ratio.median if ratio else None,
    "ratio_low": ratio.low if ratio else None,
    "ratio_high": ratio.high if ratio else None,
    "rounds": row.rounds,
    "memory_bytes": prepared.memory_bytes if prepared else None,
    "memory_kind": prepared.memory_kind if prepared else "",
    "compile_seconds": prepared.compile_seconds if prepared else None,
    "note": prepared.note if prepared else "",
  }


def write_csv(path: Path, records: Sequence[Mapping[str, Any]]) -> Path:
  """Writes records; an empty field is what could not be known."""
  with path.open("w", newline="", encoding="utf-8") as file:
    writer = csv.DictWriter(file, list(records[0]))
    writer.writeheader()
    writer.writerows(records)
  return path


def summary(records: Sequence[Mapping[str, Any]]) -> str:
  """Times and ratios of one group in a line, to follow a run by."""
  parts = []
  for each in records:
    if each["status"] != OK:
      parts.append(f"{each['contender']} -")
      continue
    ratio = "" if each["ratio"] is None else f" {each['ratio']:.2f}x"
    parts.append(f"{each['contender']} {each['seconds'] * 1e3:.2f} ms{ratio}")
  return ", ".join(parts)
