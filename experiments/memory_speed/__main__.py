"""Measures the speed of memories: one layer, whole models, chunked reading."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attnjax import config as configs
from experiments.memory_speed import chunks, models, peers, report
from experiments.memory_speed.config import PRESETS, MemorySpeedConfig
from experiments.timing.records import Progress, summary, write_csv
from experiments.timing.tables import begin, write_tables
from experiments.timing.torch_process import TorchChild


def main(config: MemorySpeedConfig, workdir: Path) -> None:
  """Measures part after part; a CSV each, then all tables."""
  begin(workdir, config, "memory_speed")

  # Until the end: the tables name the version of PyTorch.
  with TorchChild(workdir / "torch.log") as child:
    found = {
      part: _measured(part, config, workdir, child) for part in config.parts
    }
    print(write_tables(workdir, report.tables_of(found), child.version))

  if "model" in found:
    print(report.draw_model(workdir / "model.png", found["model"]))


def _measured(
  part: str, config: MemorySpeedConfig, workdir: Path, child: TorchChild
) -> list[dict[str, Any]]:
  """Measures a part and returns its records; the CSV grows with each case."""
  cases: list
  measure: Callable

  if part == "layer":
    cases = peers.cases_of(config)
    measure = functools.partial(peers.records_of_layer, config, child)
  elif part == "model":
    cases, made = sorted(config.model.lengths), models.models_of(config)
    measure = functools.partial(models.records_of_length, config, made)
  else:
    cases = chunks.streams_of(config)
    measure = functools.partial(chunks.records_of_stream, config)

  records: list[dict[str, Any]] = []
  with Progress(len(cases)) as progress:
    for case in cases:
      rows = list(measure(case))
      records += rows
      write_csv(workdir / f"{part}.csv", records)
      progress.done(f"{case}: {summary(rows)}")
  return records


if __name__ == "__main__":
  configs.run(main, PRESETS, experiment="memory_speed")
