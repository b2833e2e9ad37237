"""Tables and figures of the scaling experiment."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from attnjax.runs import spread, table
from attnjax.viz import lines_figure
from attnjax.viz.style import INK, PALETTE, save_figure
from experiments.scaling.config import ScalingConfig
from experiments.scaling.law import (
  LENGTHS,
  SIZES,
  Fit,
  Law,
  line_through,
)
from experiments.scaling.refutation import Forecast, forecasts, frontier

__all__ = ["cells", "draw", "line", "tables", "tested"]

Runs = Sequence[dict]
Curve = tuple[np.ndarray, np.ndarray, str]  # x, y, color

_NAMES: Mapping[str, tuple[str, Callable[[Law], float]]] = {
  "floor": ("E, bits per byte", lambda law: law.floor),
  "a": ("A", lambda law: law.a),
  "alpha": ("alpha, of parameters", lambda law: law.alpha),
  "b": ("B", lambda law: law.b),
  "beta": ("beta, of tokens", lambda law: law.beta),
}


def line(run: dict) -> str:
  """A run as a line of text."""
  return (
    f"width {run['width']}, {run['tokens']:,} tokens, seed {run['seed']}:"
    f" {run['bits_per_byte']:.4f} bits per byte ({run['flops']:.3g} FLOPs,"
    f" {run['seconds']:.0f} s)"
  )


def cells(runs: Runs) -> dict[tuple[int, int], list[dict]]:
  """Runs by (width, tokens), one a seed; sorted."""
  found: dict[tuple[int, int], list[dict]] = {}
  for run in sorted(runs, key=lambda r: (r["width"], r["tokens"], r["seed"])):
    found.setdefault((run["width"], run["tokens"]), []).append(run)
  return found


def tables(config: ScalingConfig, runs: Runs, fitted: Fit | None) -> str:
  """All tables as text; without a law, why there is none."""
  parts = [_runs_table(config, runs), _lines_table(runs)]
  if fitted is None:
    few = f"it wants {SIZES} sizes and {LENGTHS} lengths at least"
    return "\n".join([*parts, f"\nno law: {few}"])
  return "\n".join([*parts, _law_table(fitted), tested(config, runs)])


def _runs_table(config: ScalingConfig, runs: Runs) -> str:
  """Table of bits per byte of every size and length, and of their cost."""
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
    # Runs of one width differ in tokens and seed alone.
    one = next(run for run in runs if run["width"] == width)
    # The last column: 6 N D lacks the readout and attention, which C counts.
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
  """Table of the five numbers, their intervals, and which are determined."""
  law, percent = fitted.law, f"{100 * fitted.coverage:.0f} %"
  rows = []

  for name, (title, ask) in _NAMES.items():
    low, high = fitted.interval(ask)
    said = "" if name in "ab" else fitted.verdict(name)
    # A floor that the optimizer drives to its bound is 0 but for rounding.
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
  """Table of power laws of one variable: size, tokens, compute."""
  rows = []
  for title, x, y in _lines(runs):
    if len(x) < 3:
      rows.append([title, len(x), "too few points", "", ""])
      continue
    found = line_through(x, y)
    rows.append(
      [
        title,
        len(x),
        f"{found.exponent:.4f} ± {found.error:.4f}",
        f"{found.factor:.3g}",
        f"{found.residual:.4f}",
      ]
    )

  heads = ["", "points", "exponent", "factor", "rms of log residual"]
  return "\npower laws of one variable, without a floor\n\n" + table(
    heads, rows
  )


def _lines(runs: Runs) -> list[tuple[str, list[float], list[float]]]:
  """Points of each power law: (title, x, y)."""
  longest = max(run["tokens"] for run in runs)
  widest = max(run["parameters"] for run in runs)
  loss = lambda some: [run["bits_per_byte"] for run in some]
  last = [run for run in runs if run["tokens"] == longest]
  most = [run for run in runs if run["parameters"] == widest]
  best = frontier(runs)

  # Where the other of the two is largest, its term is least.
  return [
    ("L(N), longest runs", [run["parameters"] for run in last], loss(last)),
    ("L(D), widest model", [run["tokens"] for run in most], loss(most)),
    ("L(C), frontier", [c for c, _ in best], [y for _, y in best]),
  ]


def tested(config: ScalingConfig, runs: Runs) -> str:
  """Table of losses that were held out and of their predictions."""
  title = "\nheld out: the widest model, all its runs"
  try:
    found = forecasts(config.law, runs)
  except ValueError as error:
    return f"{title}: no forecast, {error}"
  return f"{title}\n\n{_forecast_table(found)}\n{_judged(found)}"


def _forecast_table(found: Sequence[Forecast]) -> str:
  """Table of losses measured and predicted, and of both errors."""
  rows = [
    [
      f"{each.parameters:,.0f}",
      f"{each.tokens:,.0f}",
      f"{each.measured:.4f}",
      f"{each.foretold:.4f} ({each.low:.4f} to {each.high:.4f})",
      f"{100 * each.error:+.2f} %",
      f"{100 * each.baseline:+.2f} %",
      f"{100 * each.ruled:+.2f} %",
    ]
    for each in found
  ]
  heads = ["N", "tokens", "measured", "foretold", "error"]
  heads += ["of the neighbour", "of the ruler"]

  return table(heads, rows)


def _judged(found: Sequence[Forecast]) -> str:
  """Root mean square of the three errors, and whether the law's is smallest."""
  root = lambda errors: 100 * float(np.sqrt(np.mean(np.square(errors))))
  law = root([each.error for each in found])
  same = root([each.baseline for each in found])
  ruled = root([each.ruled for each in found])
  nearer = law < min(same, ruled)
  said = "the law is nearer" if nearer else "REFUTED: the law is no nearer"
  return (
    f"\nroot mean square: {law:.2f} % of the law, {same:.2f} % of the neighbour"
    f" in its stead, {ruled:.2f} % of a ruler through the two next: {said}"
  )


def draw(workdir: Path, runs: Runs, fitted: Fit | None) -> list[Path]:
  """Draws loss over parameters and over compute, with the laws dashed.

  Args:
    workdir: to write to.
    runs: what was measured.
    fitted: None draws no law.
  """
  return [
    _by_parameters(workdir / "by_parameters.png", runs, fitted),
    _by_compute(workdir / "by_compute.png", runs),
  ]


def _by_parameters(path: Path, runs: Runs, fitted: Fit | None) -> Path:
  """Figure of loss over parameters, a line a number of tokens."""
  series: dict[str, tuple[list[float], np.ndarray]] = {}
  curves: list[Curve] = []

  for number, tokens in enumerate(sorted({run["tokens"] for run in runs})):
    group = [run for run in runs if run["tokens"] == tokens]
    x, y = _series(group, "parameters")
    series[f"{tokens:,} tokens"] = (x, y)
    if fitted is not None and len(x) > 1:
      # A law bends between the few sizes of a line.
      fine = np.geomspace(x[0], x[-1], 60)
      color = PALETTE[number % len(PALETTE)]
      losses = fitted.law(fine, np.full_like(fine, tokens))
      curves.append((fine, losses, color))

  return _saved(path, series, curves, "parameters N, without the embedding")


def _by_compute(path: Path, runs: Runs) -> Path:
  """Figure of loss over compute, a line a width, and the frontier's law."""
  series = {}
  for width in sorted({run["width"] for run in runs}):
    group = [run for run in runs if run["width"] == width]
    series[f"width {width}"] = _series(group, "flops")

  curves: list[Curve] = []
  best = frontier(runs)
  if len(best) > 2:
    fine = np.geomspace(best[0][0], best[-1][0], 60)
    fitted = line_through(*zip(*best, strict=True))
    curves.append((fine, fitted(fine), INK))
  return _saved(path, series, curves, "compute C, FLOPs of training")


def _series(group: Runs, name: str) -> tuple[list[float], np.ndarray]:
  """(x, bits per byte): a row a seed, or means where seeds are missing."""
  found = list(cells(group).values())
  x = [float(runs[0][name]) for runs in found]
  losses = [[run["bits_per_byte"] for run in runs] for runs in found]
  if len({len(seeds) for seeds in losses}) > 1:
    return x, np.array([np.mean(seeds) for seeds in losses])
  return x, np.transpose(losses)


def _saved(
  path: Path,
  series: Mapping[str, tuple[list[float], np.ndarray]],
  curves: Sequence[Curve],
  x_label: str,
) -> Path:
  """Saves a log-log figure of series, with dashed curves over them."""
  figure = lines_figure(
    series,
    x_label=x_label,
    y_label="held-out bits per byte",
    log_x=True,
    log_y=True,
  )

  axes = figure.axes[0]
  # Of less than a decade: 2.5 is more easily read than 2.5 x 10^0.
  axes.yaxis.set_major_formatter("{x:g}")
  axes.yaxis.set_minor_formatter("{x:g}")
  axes.tick_params(axis="y", which="minor", labelsize=8.5)

  # The labels stand where the axes are now: what is added must not move them.
  axes.autoscale(False)
  for x, y, color in curves:
    axes.plot(x, y, color=color, linewidth=1.1, dashes=(3, 2))
  return save_figure(figure, path)
