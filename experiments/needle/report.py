"""Tables and figures of values that are named, by length of the haystack."""

from collections.abc import Mapping
from pathlib import Path

from attnjax.runs import spread, table
from attnjax.viz import save_lines
from experiments.learning_rates import best_trained, said_of
from experiments.needle.config import NeedleConfig
from experiments.needle.haystacks import KINDS

__all__ = ["Cell", "best", "draw", "tables"]

# (variant, rate) -> what `trained` found.
Cell = tuple[str, float]
Results = Mapping[Cell, dict]


def best(config: NeedleConfig, results: Results, variant: str) -> float:
  """The rate whose accuracy was greatest at the end of training."""
  return best_trained(config.rates, lambda rate: results[variant, rate])


def tables(config: NeedleConfig, results: Results) -> str:
  """A table a kind of haystack, and the sweep of the learning rate."""
  chosen = {name: best(config, results, name) for name in config.variants}
  parts = []
  for kind in KINDS:
    rows = []
    for name, rate in chosen.items():
      found = results[name, rate]["values"][kind]
      cells = [spread(found[str(length)]) for length in config.lengths]
      rows.append([name, said_of(rate, config.rates), *cells])
    heads = ["variant", "rate", *config.lengths]
    parts.append(f"\nvalues named, {kind}\n\n{table(heads, rows)}")

  rows = [
    [
      name,
      *(
        spread([row[-1] for row in results[name, rate]["curve"]])
        for rate in config.rates
      ),
    ]
    for name in config.variants
  ]
  heads = ["variant", *(f"{rate:g}" for rate in config.rates)]
  title = f"digits named in training, last {config.every} steps, by rate"
  return "\n".join([*parts, f"\n{title}\n\n{table(heads, rows)}"])


def draw(config: NeedleConfig, workdir: Path, results: Results) -> list[Path]:
  """Values named against length, a figure a kind of haystack."""
  drawn = []
  for kind in KINDS:
    series = {}
    for name in config.variants:
      found = results[name, best(config, results, name)]["values"][kind]
      each = zip(*(found[str(n)] for n in config.lengths), strict=True)
      series[name] = config.lengths, [list(row) for row in each]
    drawn.append(
      save_lines(
        workdir / f"{kind}.png",
        series,
        x_label="tokens of a row",
        y_label="values named",
        title=kind,
        log_x=True,
      )
    )
  return drawn
