"""Tables of steps to recall, and curves of loss with their plateau."""

import math
import statistics
from collections.abc import Sequence
from pathlib import Path

from attnjax.runs import table
from attnjax.viz import save_lines
from experiments.learning_rates import said_of
from experiments.why_recall_is_not_learned.config import StartsConfig

__all__ = ["Cell", "best", "draw", "median", "plateau", "tables"]

# (kind, half, rate) -> what `trained` found.
Cell = tuple[str, str, float]


def plateau(config: StartsConfig) -> float:
  """Nats of a reader that says one of the values told, whichever was asked.

  log n for n pairs, over the numbers of pairs that rows have.
  """
  counts = range(config.task.fewest, config.task.most + 1)
  return statistics.fmean(math.log(n) for n in counts)


def median(steps: Sequence[int | None]) -> float | None:
  """Median of steps some of which are censored (None); None if it is one.

  Censored steps are longer than all others, so that no estimate is needed.

  >>> median([100, None, 300]), median([100, None, None])
  (300, None)
  """
  known = sorted(step for step in steps if step is not None)
  low, high = (len(steps) - 1) // 2, len(steps) // 2
  if high >= len(known):
    return None
  return (known[low] + known[high]) / 2 if low < high else known[low]


def best(
  config: StartsConfig, results: dict[Cell, dict], kind: str, half: str
) -> float | None:
  """The rate that took the fewest steps to the last goal; None: none is done.

  Where no rate reached it, or two are alike, the one of the greatest accuracy
  at the end.
  """

  def cost(rate):
    found = results[kind, half, rate]
    steps = median(found["steps"][str(config.goals[-1])])
    ends = [row[-1] for row in found["accuracy"]]
    return math.inf if steps is None else steps, -statistics.fmean(ends)

  done = [rate for rate in config.rates if (kind, half, rate) in results]
  return min(done, key=cost, default=None)


def tables(config: StartsConfig, results: dict[Cell, dict]) -> str:
  """Median and range of the steps to each goal, of each kind and start."""
  rows = []
  for kind in config.kinds:
    for half in config.halves:
      rate = best(config, results, kind, half)
      if rate is not None:
        rows.append(_row(config, kind, half, rate, results[kind, half, rate]))
  low, high = (f"steps to {goal:g}" for goal in config.goals)
  return table(
    ["kind", "start", "rate", low, high, "range", "reached", "accuracy"], rows
  )


def _row(config: StartsConfig, kind: str, half: str, rate: float, found: dict):
  """One line."""
  said = lambda steps: f"> {config.steps}" if steps is None else f"{steps:g}"
  low, high = (found["steps"][str(goal)] for goal in config.goals)
  reached = [step for step in high if step is not None]
  range_ = f"{min(reached)} to {max(reached)}" if reached else "none"
  ends = statistics.fmean(max(row) for row in found["accuracy"])
  return [
    kind,
    half,
    said_of(rate, config.rates),
    said(median(low)),
    said(median(high)),
    range_,
    f"{len(reached)} of {len(high)}",
    f"{ends:.2f}",
  ]


def draw(
  config: StartsConfig, workdir: Path, results: dict[Cell, dict]
) -> list[Path]:
  """Curves of the loss of each kind, a line a start, with the plateau."""
  drawn = []
  for kind in config.kinds:
    series = {}
    for half in config.halves:
      rate = best(config, results, kind, half)
      if rate is not None:
        loss = results[kind, half, rate]["loss"]
        steps = [config.every * (n + 1) for n in range(len(loss[0]))]
        series[half] = steps, loss
    if series:
      name = kind.replace(" ", "_").lower()
      drawn.append(
        save_lines(
          workdir / f"{name}.png",
          series,
          x_label="steps",
          y_label="loss, nats",
          title=kind,
          levels={"one of the values told": plateau(config)},
          log_x=True,
        )
      )
  return drawn
