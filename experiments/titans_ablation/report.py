"""Tables and a figure of the ablation: means, and intervals over seeds."""

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from scipy import special

from attnjax.runs import spread, table
from attnjax.viz import save_lines
from experiments.learning_rates import best_trained, said_of
from experiments.titans_ablation.config import BESIDE, VARIANTS, AblationConfig

__all__ = ["Cell", "best", "draw", "interval", "steps_to", "tables"]

# (variant, rate) -> what `trained` found.
Cell = tuple[str, float]
Results = Mapping[Cell, dict]
_Part = tuple[str, list, list[list]]  # title, heads, rows

_WHOLE = next(iter(VARIANTS))
_GOALS = (0.5, 0.9)


def interval(values: Sequence[float], level: float = 0.95) -> float:
  """Half the interval of the mean of seeds: t sd / sqrt(n).

  t is Student's, of n - 1 degrees of freedom: five seeds are few, and 2.78
  standard errors wide. Of one value it is infinite.

  >>> round(interval([0.5, 0.6, 0.7]), 3)  # 4.303 x 0.1 / sqrt(3)
  0.248
  >>> interval([0.5])
  inf
  """
  count = len(values)
  if count == 1:
    return math.inf
  quantile = float(special.stdtrit(count - 1, (1 + level) / 2))
  return quantile * statistics.stdev(values) / math.sqrt(count)


def steps_to(
  curve: Sequence[Sequence[float]], goal: float, every: int
) -> float:
  """Median over seeds of the steps to an accuracy in training; inf: never.

  >>> steps_to([[0.1, 0.6], [0.7, 0.8], [0.2, 0.3]], 0.5, every=50)
  100
  """
  first = lambda row: next((n for n, x in enumerate(row, 1) if x >= goal), None)
  steps = [
    math.inf if (n := first(row)) is None else every * n for row in curve
  ]
  # No mean of two, one of which may be infinite.
  return statistics.median_high(steps)


def best(config: AblationConfig, results: Results, variant: str) -> float:
  """The rate whose accuracy was greatest at the end of training.

  The mean over seeds, on rows that no step has seen; no test is looked at.
  """
  return best_trained(config.rates, lambda rate: results[variant, rate])


def tables(config: AblationConfig, results: Results) -> str:
  """Accuracy with its interval, a row a variant, and the sweep of rates."""
  chosen = {name: best(config, results, name) for name in config.variants}
  found = {name: results[name, rate] for name, rate in chosen.items()}

  rows = []
  for name, rate in chosen.items():
    cells = [said_of(rate, config.rates)]
    for pairs in map(str, config.pairs):
      cells += [
        _mean(found[name]["pairs"][pairs]),
        _beside(found, name, pairs),
      ]
    rows.append([name, *cells])
  heads = [x for n in config.pairs for x in (f"{n} pairs", "beside")]
  parts: list[_Part] = [("accuracy", ["variant", "rate", *heads], rows)]
  parts += [_training(config, found), _sweep(config, results)]
  return "\n".join(f"\n{name}\n\n{table(*of)}" for name, *of in parts)


def _mean(values: Sequence[float], sign: str = "") -> str:
  """A mean and its interval."""
  said = f"{statistics.fmean(values):{sign}.3f}"
  half = interval(values)
  return f"{said} ± {half:.3f}" if math.isfinite(half) else said


def _beside(found: Mapping[str, dict], name: str, pairs: str) -> str:
  """Differences to the whole, seed by seed."""
  whole = BESIDE.get(name, _WHOLE)
  if whole == name or whole not in found:
    return "-"
  each = zip(
    found[name]["pairs"][pairs], found[whole]["pairs"][pairs], strict=True
  )
  return _mean([one - other for one, other in each], sign="+")


def _training(config: AblationConfig, found: Mapping[str, dict]) -> _Part:
  """(title, heads, rows) of sizes, and of steps to an accuracy in training."""
  steps = lambda curve, goal: steps_to(curve, goal, config.every)
  said = lambda n: f"{n}" if math.isfinite(n) else f"> {config.steps}"
  rows = [
    [
      name,
      f"{cell['parameters']:,}",
      f"{cell['bytes']:,}",
      *(said(steps(cell["curve"], goal)) for goal in _GOALS),
    ]
    for name, cell in found.items()
  ]
  heads = ["variant", "parameters", "bytes", *(f"steps to {x}" for x in _GOALS)]
  return "size, and training", heads, rows


def _sweep(config: AblationConfig, results: Results) -> _Part:
  """(title, heads, rows) of every rate that was tried, best or not."""
  ends = lambda found: spread([row[-1] for row in found["curve"]])
  rows = [
    [name, *(ends(results[name, rate]) for rate in config.rates)]
    for name in config.variants
  ]
  title = f"accuracy in training, last {config.every} steps, by learning rate"
  return title, ["variant", *(f"{rate:g}" for rate in config.rates)], rows


def draw(config: AblationConfig, workdir: Path, results: Results) -> list[Path]:
  """Accuracy in training against steps, a line a variant."""
  series = {}
  for name in config.variants:
    curve = results[name, best(config, results, name)]["curve"]
    steps = [config.every * (n + 1) for n in range(len(curve[0]))]
    series[name] = steps, curve
  return [
    save_lines(
      workdir / "training.png",
      series,
      x_label="steps",
      y_label="accuracy in training",
      title="A Titans memory without its parts",
      levels={"chance": 1 / config.task.values},
    )
  ]
