"""Tables and figures of the experiment on recall beyond the window."""

import statistics
from collections.abc import Iterator, Mapping
from pathlib import Path

from attnjax.runs import spread, table
from attnjax.viz import save_lines
from experiments.learning_rates import best_trained, said_of
from experiments.recall_beyond_window.config import RecallConfig
from experiments.recall_beyond_window.interventions import COLUMNS
from experiments.recall_beyond_window.measure import deviation

__all__ = ["Cell", "best", "check_reach", "draw", "tables"]

# (variant, width, rate) -> what `trained` found.
Cell = tuple[str, int, float]
Results = Mapping[Cell, dict]

_LIMIT = 5.0  # standard deviations: by chance, one run in two millions


def best(
  config: RecallConfig, results: Results, variant: str, width: int
) -> float:
  """The rate whose accuracy was greatest at the end of training.

  The mean over seeds, on rows that no step has seen; no test is looked at.
  """
  return best_trained(config.rates, lambda rate: results[variant, width, rate])


def _chosen(
  config: RecallConfig, results: Results
) -> Iterator[tuple[str, int, float, dict]]:
  """(variant, width, its best rate, what was found there)."""
  for variant in config.variants:
    for width in config.widths:
      rate = best(config, results, variant, width)
      yield variant, width, rate, results[variant, width, rate]


def tables(config: RecallConfig, results: Results) -> str:
  """All tables as text."""
  test = config.test
  parts = [
    ("accuracy by number of pairs", "by pairs", test.capacities),
    (f"accuracy of {test.pairs} pairs by length", "by length", test.lengths),
    ("keys told twice: says", "overwritten", ("later", "earlier")),
    ("the memory changed", "interventions", COLUMNS),
  ]
  found = [_table(config, results, *part) for part in parts]
  return "\n".join([_sizes(config, results), *found, _sweep(config, results)])


def _table(
  config: RecallConfig, results: Results, title: str, name: str, columns
) -> str:
  """Table of one measure, a row a variant and width, a column a condition."""
  rows = []
  for variant, width, rate, found in _chosen(config, results):
    seeds = [seed[name] for seed in found["seeds"]]
    if seeds[0]:
      cells = [
        spread([seed[str(c)] for seed in seeds]) if str(c) in seeds[0] else "-"
        for c in columns
      ]
      rows.append([variant, width, said_of(rate, config.rates), *cells])
  return _titled(title, ["variant", "width", "rate", *columns], rows)


def _titled(title: str, heads: list, rows: list[list]) -> str:
  return f"\n{title}\n\n" + table(heads, rows)


def _sizes(config: RecallConfig, results: Results) -> str:
  """Table of parameters and of bytes of the state."""
  ends = min(config.test.lengths), max(config.test.lengths)
  rows = [
    [
      variant,
      width,
      f"{found['parameters']:,}",
      *(f"{found['bytes'][str(length)]:,}" for length in ends),
    ]
    for variant, width, _, found in _chosen(config, results)
  ]
  heads = ["parameters", *(f"bytes at {n:,}" for n in ends)]
  return _titled("sizes", ["variant", "width", *heads], rows)


def _sweep(config: RecallConfig, results: Results) -> str:
  """Table of every rate that was tried, best or not."""
  rows = [
    [
      variant,
      width,
      *(
        spread([row[-1] for row in results[variant, width, rate]["curve"]])
        for rate in config.rates
      ),
    ]
    for variant, width, *_ in _chosen(config, results)
  ]
  heads = ["variant", "width", *(f"{rate:g}" for rate in config.rates)]
  title = f"accuracy in training, last {config.every} steps, by learning rate"
  return _titled(title, heads, rows)


def check_reach(config: RecallConfig, results: Results) -> str:
  """Checks that a window is at chance beyond its reach, and says so.

  Raises:
    RuntimeError: it is not at chance: then something leaks.
  """
  test, model = config.test, config.model
  # Each block looks back by its window and by its convolution.
  reach = model.depth * ((model.window or 0) + model.convolution - 1)
  far = [n for n in test.lengths if n - 3 * test.pairs > reach]
  lines = []

  for variant in ("window", "window + persistent"):
    seeds = [
      seed["by length"]
      for (name, *_), found in results.items()
      for seed in found["seeds"]
      if name == variant
    ]
    if not seeds or not far:
      continue

    accuracies = [seed[str(length)] for seed in seeds for length in far]
    away = deviation(config, accuracies)
    said = (
      f"{variant}: {statistics.fmean(accuracies):.4f} beyond its reach of"
      f" {reach} tokens, chance {1 / config.task.values:.4f}:"
      f" {away:+.1f} standard deviations"
    )
    if abs(away) > _LIMIT:
      raise RuntimeError(f"{said}; what it cannot see it cannot know: a leak")
    lines.append(said)

  return "\n".join(lines)


def draw(config: RecallConfig, workdir: Path, results: Results) -> list[Path]:
  """Draws accuracy over bytes of state, a figure a number of pairs."""
  drawn = []
  length = str(min(config.test.lengths))
  for pairs in config.test.capacities:
    series: dict[str, tuple[list, list]] = {}
    for variant, _, _, found in _chosen(config, results):
      sizes, accuracies = series.setdefault(variant, ([], []))
      sizes.append(found["bytes"][length])
      accuracies.append(
        [seed["by pairs"][str(pairs)] for seed in found["seeds"]]
      )

    drawn.append(
      save_lines(
        workdir / f"pairs_{pairs}.png",
        {
          variant: (sizes, [list(row) for row in zip(*found, strict=True)])
          for variant, (sizes, found) in series.items()
        },
        x_label="bytes of state of a row",
        y_label="accuracy",
        title=f"{pairs} pairs",
        log_x=True,
        levels={"chance": 1 / config.task.values},
      )
    )
  return drawn
