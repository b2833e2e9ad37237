"""Tables and figures of the external-memory experiment."""

from pathlib import Path

import numpy as np

from attnjax.runs import spread, table
from attnjax.viz import save_lines
from experiments.external_memory.config import ExternalMemoryConfig

__all__ = ["draw", "recall_table", "trained_table"]


def recall_table(
  config: ExternalMemoryConfig, reader: str, recalls: np.ndarray
) -> str:
  """Table of the recall of one reader: a row a noise, a column a size."""
  columns = ["noise", *(f"M = {size}" for size in config.sizes)]
  rows = [
    [
      noise,
      *(spread(recalls[:, m, n].tolist()) for m in range(len(config.sizes))),
    ]
    for n, noise in enumerate(config.noises)
  ]
  return f"\n{reader}: recall\n\n" + table(columns, rows)


def trained_table(accuracy: dict[str, list[float]]) -> str:
  """Table of the trained layer's held-out accuracy by source."""
  rows = [[source, spread(values)] for source, values in accuracy.items()]
  return "\ntrained layer\n\n" + table(["attends over", "accuracy"], rows)


def draw(
  config: ExternalMemoryConfig, workdir: Path, found: dict[str, np.ndarray]
) -> list[Path]:
  """Draws recall over the size of the store, and over the noise."""
  # Each figure fixes the other: the middle noise, the largest store.
  noise, size = len(config.noises) // 2, len(config.sizes) - 1
  chance = {"chance": 1 / config.symbols}

  return [
    save_lines(
      workdir / "recall_by_size.png",
      {name: (config.sizes, x[:, :, noise]) for name, x in found.items()},
      x_label=f"pairs M in the store, noise {config.noises[noise]}",
      y_label="recall",
      log_x=True,
      levels=chance,
    ),
    save_lines(
      workdir / "recall_by_noise.png",
      {name: (config.noises, x[:, size]) for name, x in found.items()},
      x_label=f"noise on each feature of a key, M = {config.sizes[size]}",
      y_label="recall",
      levels=chance,
    ),
  ]
