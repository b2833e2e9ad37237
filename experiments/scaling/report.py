"""Tables of the experiment."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from experiments.results import spread, table
from experiments.scaling.config import ScalingConfig
from experiments.scaling.law import LENGTHS, SIZES, Law
from experiments.scaling.refutation import Forecast, forecasts, frontier
from experiments.scaling.uncertainty import Fit, Line, line_through

__all__ = ["cells", "line", "tables", "tested"]

Runs = Sequence[dict]

_NAMES: Mapping[str, tuple[str, Callable[[Law], float]]] = {
  "floor": ("E, bits per byte", lambda law: law.floor),
  "a": ("A", lambda law: law.a),
  "alpha": ("alpha, of parameters", lambda law: law.alpha),
  "b": ("B", lambda law: law.b),
  "beta": ("beta, of tokens", lambda law: law.beta),
}


def line(run: dict) -> str:
  """One run in a line."""
  return (
    f"width {run['width']}, {run['tokens']:,} tokens, seed {run['seed']}:"
    f" {run['bits_per_byte']:.4f} bits per byte ({run['flops']:.3g} FLOPs,"
    f" {run['seconds']:.0f} s)"
  )


def cells(runs: Runs) -> dict[tuple[int, int], list[dict]]:
  """(width, tokens) -> its runs, one a seed; sorted."""
  found: dict[tuple[int, int], list[dict]] = {}
  for run in sorted(runs, key=lambda r: (r["width"], r["tokens"], r["seed"])):
    found.setdefault((run["width"], run["tokens"]), []).append(run)
  return found


def tables(config: ScalingConfig, runs: Runs, fitted: Fit | None) -> str:
  """All tables, one below the other; without a law, why there is none."""
  parts = [_runs_table(config, runs), _lines_table(runs)]
  if fitted is None:
    few = f"it wants {SIZES} sizes and {LENGTHS} lengths at least"
    return "\n".join([*parts, f"\nno law: {few}"])
  return "\n".join([*parts, _law_table(fitted), tested(config, runs)])


def _runs_table(config: ScalingConfig, runs: Runs) -> str:
  """Bits per byte of every size and length, and what they cost."""
  found = cells(runs)
  lengths = sorted({tokens for _, tokens in found})
  rows = []
  for width in sorted({width for width, _ in found}):
    losses = [
      spread([r["bits_per_byte"] for r in found[width, d]], 4)
      if (width, d) in found
      else "none yet"
      for d in lengths
    ]
    one = next(run for run in runs if run["width"] == width)
    model, each = config.model(width), one["flops"] / one["tokens"]
    rows.append(
      [
        f"{width} x {model.depth}",
        f"{one['parameters']:,}",
        f"{one['all_parameters']:,}",
        *losses,
        f"{each:,.0f}",
        f"{6 * one['parameters'] / each:.2f}",
      ]
    )
  heads = ["M x L", "N", "with embedding"]
  heads += [f"{tokens:,} tokens" for tokens in lengths]
  heads += ["C / D", "6 N D / C"]
  return "\nbits per byte of held-out text\n\n" + table(heads, rows)


def _law_table(fitted: Fit) -> str:
  """The five numbers, their intervals, and which of them are determined."""
  law, percent = fitted.law, f"{100 * fitted.coverage:.0f} %"
  rows = []
  for name, (title, ask) in _NAMES.items():
    low, high = fitted.interval(ask)
    said = "" if name in "ab" else fitted.verdict(name)
    # A floor that is driven to its end is 0 but for rounding.
    value, low, high = (round(x, 6) for x in (ask(law), low, high))
    rows.append([title, f"{value:.3g}", f"{low:.3g} to {high:.3g}", said])
  share = lambda law: law.beta / (law.alpha + law.beta)
  low, high = fitted.interval(share)
  title = "beta / (alpha + beta), of the best N in C"
  rows.append([title, f"{share(law):.3g}", f"{low:.3g} to {high:.3g}", ""])
  return "\nL = E + A / N^alpha + B / D^beta\n\n" + table(
    ["", "fitted", f"{percent} of resamples", ""], rows
  )


def _lines_table(runs: Runs) -> str:
  """Straight lines in logarithms: of size, of tokens, of compute."""
  rows = []
  for title, x, y in _lines(runs):
    if len(x) < 3:
      rows.append([title, len(x), "too few points", "", ""])
      continue
    found = line_through(x, y)
    rows.append([title, len(x), *_line_cells(found)])
  heads = ["", "points", "exponent", "factor", "rms of log residual"]
  return "\npower laws of one variable, without a floor\n\n" + table(
    heads, rows
  )


def _lines(runs: Runs) -> list[tuple[str, list[float], list[float]]]:
  """(what, x, y) of every line."""
  longest = max(run["tokens"] for run in runs)
  widest = max(run["parameters"] for run in runs)
  loss = lambda some: [run["bits_per_byte"] for run in some]
  last = [run for run in runs if run["tokens"] == longest]
  most = [run for run in runs if run["parameters"] == widest]
  best = frontier(runs)
  return [
    ("L(N), longest runs", [run["parameters"] for run in last], loss(last)),
    ("L(D), widest model", [run["tokens"] for run in most], loss(most)),
    ("L(C), frontier", [c for c, _ in best], [y for _, y in best]),
  ]


def _line_cells(found: Line) -> list[str]:
  """The exponent with its standard error, and how well the line fits."""
  return [
    f"{found.exponent:.4f} ± {found.error:.4f}",
    f"{found.factor:.3g}",
    f"{found.residual:.4f}",
  ]


def tested(config: ScalingConfig, runs: Runs) -> str:
  """Losses that were held out, as the law of the others foretold them."""
  title = "\nheld out: the widest model, all its runs"
  try:
    found = forecasts(config.law, runs)
  except ValueError as error:
    return f"{title}: no forecast, {error}"
  return f"{title}\n\n{_forecast_table(found)}\n{_judged(found)}"


def _forecast_table(found: Sequence[Forecast]) -> str:
  """Measured, foretold, and both errors."""
  rows = [
    [
      f"{each.parameters:,.0f}",
      f"{each.tokens:,.0f}",
      f"{each.measured:.4f}",
      f"{each.foretold:.4f} ({each.low:.4f} to {each.high:.4f})",
      f"{100 * each.error:+.2f} %",
      f"{100 * each.baseline:+.2f} %",
    ]
    for each in found
  ]
  heads = ["N", "tokens", "measured", "foretold", "error", "of the neighbour"]
  return table(heads, rows)


def _judged(found: Sequence[Forecast]) -> str:
  """Both errors in one number, and who was nearer."""
  root = lambda errors: 100 * float(np.sqrt(np.mean(np.square(errors))))
  law = root([each.error for each in found])
  same = root([each.baseline for each in found])
  said = "the law is nearer" if law < same else "REFUTED: the law is no nearer"
  return (
    f"\nroot mean square: {law:.2f} % of the law, {same:.2f} % of the neighbour"
    f" in its stead: {said}"
  )
