"""Measures the speed of attention: cases, contenders, rounds, table, figure."""

import csv
from pathlib import Path
from typing import Any

import jax

from attnjax import config as configs
from attnjax.ops.attention import block_sizes
from attnjax.ops.target import cpu_threads
from experiments.attention_speed import (
  attention,
  gpu_cost,
  gpu_speed,
  model,
  report,
  tile_cost,
  tpu_cost,
  tpu_report,
)
from experiments.attention_speed.config import (
  PRESETS,
  TPUS,
  AttentionSpeedConfig,
  GpuCostConfig,
  GpuSpeedConfig,
  ModelSpeedConfig,
  TileCostConfig,
  TpuCostConfig,
  listed,
)
from experiments.timing.jax_timing import matmul_rate
from experiments.timing.records import Progress, summary, write_csv
from experiments.timing.tables import begin, write_tables
from experiments.timing.torch_process import TorchChild


def main(
  config: AttentionSpeedConfig
  | ModelSpeedConfig
  | TileCostConfig
  | TpuCostConfig
  | GpuCostConfig
  | GpuSpeedConfig,
  workdir: Path,
) -> None:
  """Measures attention calls, the model or tiles; writes tables and figures."""
  if isinstance(config, TpuCostConfig):
    tpu_cost.check()
    begin(workdir, config, "attention_speed")
    count_on_tpus(config, workdir)
    return

  if isinstance(config, GpuSpeedConfig | GpuCostConfig):
    gpu_speed.check()
  if isinstance(config, GpuSpeedConfig):
    begin(workdir, config, "attention_speed")
    measure_on_gpu(config, workdir)
    return

  if isinstance(config, GpuCostConfig):
    begin(workdir, config, "attention_speed")
    count_on_gpus(config, workdir)
    return

  if isinstance(config, TileCostConfig):
    begin(workdir, config, "attention_speed")
    measure_tiles(config, workdir)
    return

  attention.check_implementation(config.implementation)
  if isinstance(config, AttentionSpeedConfig):
    attention.check_devices(config.devices)
  begin(workdir, config, "attention_speed")
  with TorchChild(workdir / "torch.log") as child:
    if isinstance(config, ModelSpeedConfig):
      measure_model(config, workdir, child)
    else:
      measure_attention(config, workdir, child)


def measure_attention(
  config: AttentionSpeedConfig, workdir: Path, child: TorchChild
) -> None:
  """Measures case after case; the CSV grows with each."""
  rates = {"XLA": matmul_rate(config.matmul_size)}
  if "torch" in config.contenders:
    theirs = child.matmul_rate(config.matmul_size)
    rates |= {} if theirs is None else {"PyTorch": theirs}

  cases = attention.cases_of(config)
  records: list[dict[str, Any]] = []
  with Progress(len(cases)) as progress:
    for case in cases:
      # The larger of the two is what this machine can do.
      rate = max(rates.values())
      rows = list(attention.records_of_case(config, case, child, rate))
      records += rows
      write_csv(workdir / "results.csv", records)
      size = f"{case.name} {case.mode} T={case.length} D={case.head_width}"
      progress.done(f"{size}: {summary(rows)}")

  shown = report.attention_tables(records)
  print(write_tables(workdir, shown, child.version, rates))
  print(report.draw_times(workdir / "times.png", records))


def measure_model(
  config: ModelSpeedConfig, workdir: Path, child: TorchChild
) -> None:
  """Measures the loss and gradient of the language model."""
  records = model.records_of_model(config, child)
  print(write_csv(workdir / "model.csv", records))
  table = report.model_table(records)
  print(write_tables(workdir, [table], child.version))
  print(report.draw_model(workdir / "model.png", records))


def count_on_tpus(config: TpuCostConfig, workdir: Path) -> None:
  """Counts case after case; what the CSV has already is not counted again."""
  path = workdir / "results.csv"
  records: list[dict[str, Any]] = []
  if path.exists():
    with path.open(newline="", encoding="utf-8") as file:
      records = list(csv.DictReader(file))
  done = {tpu_cost.place(each) for each in records}

  cases = [
    (chip, case)
    for chip in listed(config.chips, "chips", TPUS)
    for case in tpu_cost.cases_of(config)
  ]
  with Progress(len(cases)) as progress:
    for chip, case in cases:
      if tpu_cost.place({"chip": chip, **case._asdict()}) not in done:
        records += tpu_cost.records_of_case(config, chip, case, records)
        write_csv(path, records)
      progress.done(f"{chip}: {case.title}")

  tables = tpu_report.tpu_tables(records)
  print(write_tables(workdir, tables, None, facts=tpu_report.versions()))


def measure_on_gpu(config: GpuSpeedConfig, workdir: Path) -> None:
  """Checks some cases, then measures case after case; the CSV grows."""
  said, cases = [], gpu_speed.cases_of(config)
  for name, what in gpu_speed.conformance(config):
    said.append((name, what))
    print(f"{name}: {what}", flush=True)
  records: list[dict[str, Any]] = []
  with Progress(len(cases)) as progress:
    for case in cases:
      rows = gpu_speed.records_of_case(config, case)
      records += rows
      write_csv(workdir / "results.csv", records)
      progress.done(f"{case.title}: {summary(rows)}")
  facts = {"device": jax.devices()[0].device_kind}
  facts |= tpu_report.versions("jax", "triton", "tokamax", "torch")
  tables = gpu_speed.speed_tables(said, records)
  print(write_tables(workdir, tables, None, facts=facts))


def count_on_gpus(config: GpuCostConfig, workdir: Path) -> None:
  """Counts what the kernels of each case take; the CSV grows with each."""
  cases = gpu_cost.cases_of(config)
  records: list[dict[str, Any]] = []
  with Progress(len(cases)) as progress:
    for gpu, case in cases:
      records += gpu_cost.records_of_case(gpu, case)
      write_csv(workdir / "results.csv", records)
      progress.done(f"{gpu}: {case.title}")
  facts = tpu_report.versions("jax", "triton")
  print(write_tables(workdir, [gpu_cost.gpu_table(records)], None, facts=facts))


def measure_tiles(config: TileCostConfig, workdir: Path) -> None:
  """Measures tiles of every size, and fits the cost that chooses blocks."""
  found: list[tile_cost.Tile] = []
  for tile in tile_cost.measured_tiles(config):
    found.append(tile)
    write_csv(workdir / "tiles.csv", [tile.record() for tile in found])

  platform, threads = jax.default_backend(), cpu_threads()
  print(f"{len(found)} tiles on {platform}, {threads} threads")
  print(tile_cost.fit(found, most=block_sizes.tile_cost(platform).most))


if __name__ == "__main__":
  configs.run(main, PRESETS, experiment="attention_speed")
