"""What a run writes into its directory, and prints."""

import importlib.util
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attnjax.config import to_dict
from experiments.attention_speed import machine
from experiments.attention_speed.tables import Table, markdown, show
from experiments.attention_speed.torch_child import TorchChild

__all__ = ["begin", "write_tables"]


def begin(
  workdir: Path, config: Any, experiment: str = "attention_speed"
) -> None:
  """Makes the directory and keeps the config in it.

  Raises:
    ImportError: names the extra that brings matplotlib.
  """
  if importlib.util.find_spec("matplotlib") is None:
    raise ImportError("the figures need matplotlib: pip install 'attnjax[viz]'")
  workdir.mkdir(parents=True, exist_ok=True)
  text = json.dumps(
    {"experiment": experiment, "config": to_dict(config)}, indent=2
  )
  (workdir / "config.json").write_text(text + "\n")


def write_tables(
  workdir: Path,
  tables: Sequence[Table],
  child: TorchChild,
  rates: Mapping[str, float] | None = None,
) -> Path:
  """Prints the tables, and writes them with the machine they are of."""
  facts: dict[str, Any] = machine.describe(child.version)
  for name, rate in (rates or {}).items():
    facts[f"matmul of {name}"] = f"{rate / 1e9:.0f} GFLOP/s"
  line = ", ".join(f"{name} {value}" for name, value in facts.items())
  print(f"\n{line}")
  for table in tables:
    show(table)
  path = workdir / "table.md"
  parts = [f"Measured on: {line}.\n", *map(markdown, tables)]
  path.write_text("\n".join(parts), encoding="utf-8")
  return path
