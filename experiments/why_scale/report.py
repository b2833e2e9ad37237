"""Tables and figures of the why-scale experiment."""

from pathlib import Path

import numpy as np

from attnjax.runs import spread, table
from attnjax.viz import save_lines
from experiments.why_scale.config import WhyScaleConfig
from experiments.why_scale.measure import Saturation

__all__ = ["draw", "random_table", "summary", "trained_table"]


def _by_width(runs: list, name: str) -> np.ndarray:
  """One measure of `Saturation`, ``seeds widths``."""
  return np.array([[float(getattr(x, name)) for x in run] for run in runs])


def random_table(config: WhyScaleConfig, random: dict) -> str:
  """Table of saturation over width, with both scorings."""
  names = Saturation._fields

  columns = ["D", *(f"{m}, {kind}" for m in names for kind in random)]
  rows = []
  for place, width in enumerate(config.widths):
    cells = [
      spread(_by_width(runs, name)[:, place].tolist())
      for name in names
      for runs in random.values()
    ]
    rows.append([width, *cells])

  return "\nrandom queries and keys\n\n" + table(columns, rows)


def _last(runs: list[list[dict]], name: str) -> list[float]:
  """The last value of a metric, one a seed."""
  return [records[-1][name] for records in runs]


def trained_table(config: WhyScaleConfig, trained: dict) -> str:
  """Table of final accuracy, and of steps to 0.9, with both scorings."""
  columns = ["D"]
  for kind in trained:
    columns += [f"accuracy, {kind}", f"steps to 0.9, {kind}"]

  rows = []
  for width in config.lookup.widths:
    row = [str(width)]
    for runs in trained.values():
      steps = [_steps_to(records, 0.9) for records in runs[width]]
      row.append(spread(_last(runs[width], "accuracy")))
      row.append(", ".join("never" if s is None else str(s) for s in steps))
    rows.append(row)

  return "\ntrained to look up\n\n" + table(columns, rows)


def _steps_to(records: list[dict], accuracy: float) -> int | None:
  """Step of the first evaluation with this accuracy; None: never."""
  # No finer than the steps between two evaluations: 50 in the preset.
  reached = [r["step"] for r in records if r["accuracy"] >= accuracy]
  return min(reached, default=None)


def draw(
  config: WhyScaleConfig,
  workdir: Path,
  random: dict,
  trained: dict,
  uniform: float,
) -> None:
  """Draws entropy and gradient over width, and final accuracy over width."""
  # The entropy of uniform weights over S keys is log S, its maximum.
  for name, label, levels in (
    ("entropy", "entropy of the weights, nats", {"uniform": uniform}),
    ("gradient", "norm of d weights / d logits", None),
  ):
    lines = {k: (config.widths, _by_width(r, name)) for k, r in random.items()}
    path = save_lines(
      workdir / f"{name}.png",
      lines,
      x_label="width D",
      y_label=label,
      log_x=True,
      levels=levels,
    )
    print(path)

  lines = {
    kind: (
      config.lookup.widths,
      np.array([_last(runs[w], "accuracy") for w in config.lookup.widths]).T,
    )
    for kind, runs in trained.items()
  }
  print(
    save_lines(
      workdir / "accuracy.png",
      lines,
      x_label="width D of queries and keys",
      y_label=f"accuracy after {config.train.steps} steps",
      log_x=True,
      levels={"chance": 1 / config.lookup.symbols},
    )
  )


def summary(config: WhyScaleConfig, random: dict, trained: dict) -> dict:
  """All measures, for `result.json`."""
  return {
    "random": {
      kind: {
        name: dict(
          zip(
            map(str, config.widths),
            _by_width(runs, name).T.tolist(),
            strict=True,
          )
        )
        for name in Saturation._fields
      }
      for kind, runs in random.items()
    },
    "accuracy": {
      kind: {str(w): _last(runs[w], "accuracy") for w in runs}
      for kind, runs in trained.items()
    },
  }
