"""Tables and a figure of accuracy by the length of a word."""

import statistics
from pathlib import Path

from attnjax.runs import spread, table
from attnjax.viz import save_lines
from experiments.learning_rates import said_of
from experiments.state_tracking.config import TrackingConfig
from experiments.state_tracking.groups import group

__all__ = ["Cell", "best", "draw", "tables"]

# (group, variant, rate) -> what `trained` found.
Cell = tuple[str, str, float]
_FOLLOWED = 0.9


def best(
  config: TrackingConfig, results: dict[Cell, dict], name: str, variant: str
) -> float:
  """The rate whose accuracy is greatest at the length of training.

  Not at the lengths that are the claim's.
  """
  shown = str(config.length)
  mean = lambda rate: statistics.fmean(
    results[name, variant, rate]["by length"][shown]
  )
  return max(config.rates, key=mean)


def tables(config: TrackingConfig, results: dict[Cell, dict]) -> str:
  """A table a group: accuracy in the last quarter of words, by length."""
  parts = []
  for name in config.groups:
    rows = []
    for variant in config.variants:
      rate = best(config, results, name, variant)
      found = results[name, variant, rate]["by length"]
      rows.append(
        [
          variant,
          said_of(rate, config.rates),
          *(spread(found[str(length)]) for length in config.lengths),
          _followed(found[str(max(config.lengths))]),
        ]
      )
    chance = 1 / len(group(name).table)
    heads = ["variant", "rate", *config.lengths, f">= {_FOLLOWED} at the last"]
    parts.append(f"\n{name}, chance {chance:.3f}\n\n{table(heads, rows)}")
  return "\n".join(parts)


def _followed(accuracies: list[float]) -> str:
  """How many seeds follow the words; a mean hides that some do and some not."""
  good = sum(x >= _FOLLOWED for x in accuracies)
  return f"{good} of {len(accuracies)}"


def draw(
  config: TrackingConfig, workdir: Path, results: dict[Cell, dict]
) -> list[Path]:
  """Accuracy against length, a figure a group."""
  drawn = []
  for name in config.groups:
    series = {}
    for variant in config.variants:
      found = results[name, variant, best(config, results, name, variant)]
      by_length = found["by length"]
      each = zip(*(by_length[str(n)] for n in config.lengths), strict=True)
      series[variant] = config.lengths, [list(row) for row in each]
    drawn.append(
      save_lines(
        workdir / f"{name.lower()}.png",
        series,
        x_label="letters of a word",
        y_label="accuracy, last quarter",
        title=name,
        levels={"chance": 1 / len(group(name).table)},
      )
    )
  return drawn
