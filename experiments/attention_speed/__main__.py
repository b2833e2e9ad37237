"""Measures attention: cases, contenders, rounds, table, figure."""

from pathlib import Path

from attnjax import config as configs
from experiments.attention_speed import attention, model, plot, report, tables
from experiments.attention_speed.config import (
  PRESETS,
  AttentionSpeedConfig,
  ModelSpeedConfig,
)
from experiments.attention_speed.jax_peers import check_implementation
from experiments.attention_speed.machine import matmul_rate
from experiments.attention_speed.progress import Progress
from experiments.attention_speed.records import summary, write_csv
from experiments.attention_speed.torch_child import TorchChild


def main(
  config: AttentionSpeedConfig | ModelSpeedConfig, workdir: Path
) -> None:
  """Measures what the config is of, and writes what came."""
  check_implementation(config.implementation)
  report.begin(workdir, config)
  with TorchChild(workdir / "torch.log") as child:
    if isinstance(config, ModelSpeedConfig):
      measure_model(config, workdir, child)
    else:
      measure_attention(config, workdir, child)


def measure_attention(config, workdir: Path, child: TorchChild) -> None:
  """Every case, one after the other; the CSV grows with each."""
  wants_torch = "torch" in config.contenders
  rates = matmul_rate(config.matmul_size, child if wants_torch else None)
  cases, records = attention.cases_of(config), []
  with Progress(len(cases)) as progress:
    for case in cases:
      rate = max(rates.values())
      rows = list(attention.records_of_case(config, case, child, rate))
      records += rows
      write_csv(workdir / "results.csv", records)
      size = f"{case.name} {case.mode} T={case.length} D={case.head_width}"
      progress.done(f"{size}: {summary(rows)}")
  shown = tables.attention_tables(records)
  print(report.write_tables(workdir, shown, child, rates))
  print(plot.draw_times(workdir / "times.png", records))


def measure_model(config, workdir: Path, child: TorchChild) -> None:
  """One training step of the language model."""
  records = model.records_of_model(config, child)
  print(write_csv(workdir / "model.csv", records))
  print(report.write_tables(workdir, [tables.model_table(records)], child))
  print(plot.draw_model(workdir / "model.png", records))


if __name__ == "__main__":
  configs.run(main, PRESETS, experiment="attention_speed")
