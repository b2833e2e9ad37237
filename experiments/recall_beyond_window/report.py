"""Tables and figures of the experiment on recall beyond the window."""

from collections.abc import Mapping
from pathlib import Path

from attnjax.runs import spread, table
from attnjax.viz import save_lines
from experiments.recall_beyond_window.config import RecallConfig
from experiments.recall_beyond_window.interventions import COLUMNS
from experiments.recall_beyond_window.measure import deviation

__all__ = ["check_reach", "draw", "tables"]

Results = Mapping[str, list[dict]]  # variant -> what was measured, one a seed

_LIMIT = 5.0  # standard deviations: by chance, one run in two millions


def tables(config: RecallConfig, results: Results) -> str:
  """All tables as text."""
  test = config.test
  parts = [
    ("accuracy at every length", "length", "by length", test.lengths),
    ("accuracy by number of pairs", "pairs", "by capacity", test.capacities),
    ("keys told twice", "says", "overwritten", ("later", "earlier")),
    ("the memory changed", "memory", "interventions", COLUMNS),
  ]
  found = [_table(results, *part) for part in parts]
  return "\n".join([*found, _sizes(config, results)])


def _table(results: Results, title: str, what: str, name: str, columns) -> str:
  """Table of one measure, a row a variant, a column a condition."""
  rows = [
    [variant, *(spread([run[name][str(c)] for run in runs]) for c in columns)]
    for variant, runs in results.items()
    if runs and runs[0][name]
  ]
  heads = [f"variant, {what}", *columns]
  return f"\n{title}\n\n" + table(heads, rows)


def _sizes(config: RecallConfig, results: Results) -> str:
  """Table of parameters, bytes of the state, and seconds of training."""
  ends = min(config.test.lengths), max(config.test.lengths)

  rows = [
    [
      variant,
      f"{runs[0]['parameters']:,}",
      *(f"{runs[0]['bytes'][str(length)]:,}" for length in ends),
      f"{min(run['seconds'] for run in runs):.0f}",
    ]
    for variant, runs in results.items()
    if runs
  ]
  heads = ["variant", "parameters", *(f"bytes at {n:,}" for n in ends)]
  return "\nsizes\n\n" + table([*heads, "seconds of a run"], rows)


def check_reach(config: RecallConfig, results: Results) -> str:
  """Checks that a window is at chance beyond its reach, and says so.

  Raises:
    RuntimeError: it is not at chance: then something leaks.
  """
  test, model = config.test, config.model
  # Each block looks back by its window and by its convolution.
  reach = model.depth * ((model.window or 0) + model.convolution - 1)
  lines = []

  for variant in ("window", "window + persistent"):
    far = [n for n in test.lengths if n - 3 * test.pairs > reach]
    runs = [run["by length"] for run in results.get(variant, [])]
    if not runs or not far:
      continue

    accuracies = [run[str(length)] for run in runs for length in far]
    away = deviation(config, accuracies)
    said = (
      f"{variant}: {sum(accuracies) / len(accuracies):.4f} beyond its reach of"
      f" {reach} tokens, chance {1 / config.task.values:.4f}:"
      f" {away:+.1f} standard deviations"
    )
    if abs(away) > _LIMIT:
      raise RuntimeError(f"{said}; what it cannot see it cannot know: a leak")
    lines.append(said)

  return "\n".join(lines)


def draw(config: RecallConfig, workdir: Path, results: Results) -> list[Path]:
  """Draws accuracy over length, and over the number of pairs."""
  test = config.test
  chance = {"chance": 1 / config.task.values}
  # The accuracy of a model that knows the values of a row but not their keys.
  told = chance | {"any value of the row": 1 / test.pairs}

  parts = [
    ("by_length.png", "by length", test.lengths, "tokens of a row", told),
    ("by_capacity.png", "by capacity", test.capacities, "pairs", chance),
  ]
  return [
    save_lines(
      workdir / path,
      {
        variant: (xs, [[run[name][str(x)] for x in xs] for run in runs])
        for variant, runs in results.items()
        if runs
      },
      x_label=label,
      y_label="accuracy",
      log_x=True,
      levels=levels,
    )
    for path, name, xs, label, levels in parts
  ]
