"""Tables and figures of the language models with a memory."""

import statistics
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from attnjax.runs import spread, table
from attnjax.viz import save_lines
from experiments.memory_lm.config import MemoryTextConfig
from experiments.memory_lm.measure import octaves

__all__ = ["check_reach", "draw", "line", "tables"]

Results = Mapping[str, list[dict]]  # variant -> what was measured, one a seed

_ATTENTION = "full attention"
_RESTARTED = f"{_ATTENTION}, restarted"
_LIMIT = 1e-3  # bits: rounding is a thousandth of it


def line(config: MemoryTextConfig, variant: str, seed: int, run: dict) -> str:
  """A run as a line of text."""
  within, beyond, restarted = (
    float(_mean(config, [run], *part).mean())
    for part in (("read", False), ("read", True), ("restarted", True))
  )
  return (
    f"{variant}, seed {seed}: {within:.4f} bits per byte within the length of"
    f" training, {beyond:.4f} beyond it, {restarted:.4f} there restarted"
    f" ({run['seconds']:.0f} s of training)"
  )


def tables(config: MemoryTextConfig, results: Results) -> str:
  """All tables as text.

  Raises:
    RuntimeError: from `check_reach`.
  """
  results = {name: runs for name, runs in results.items() if runs}
  parts = [
    _positions(config, results),
    _beyond(config, results),
    _sizes(config, results),
    check_reach(config, results),
  ]
  return "\n".join(part for part in parts if part)


def _mean(config: MemoryTextConfig, runs: list[dict], kind: str, beyond: bool):
  """Bits per byte of each row within the training length, or beyond it.

  Seeds are averaged: the rows are what is a sample, of the text.
  """
  spans = octaves(config)
  chosen = [(a >= config.data.length) == beyond for a, _ in spans]
  # A mean over bytes: an octave counts by its length.
  sizes = np.array([b - a for a, b in spans]) * chosen
  read = np.mean([run[kind] for run in runs], axis=0)
  return read @ sizes / sizes.sum()


def _positions(config: MemoryTextConfig, results: Results) -> str:
  """Table of bits per byte, a row a variant, a column an octave."""
  rows = [
    [name, *(spread(seeds, 4) for seeds in np.transpose(lines))]
    for name, lines in _lines(results).items()
  ]
  heads = [f"{a:,} to {b - 1:,}" for a, b in octaves(config)]
  title = "\nbits per byte by position, means over rows\n\n"
  return title + table(["variant, bytes read", *heads], rows)


def _lines(results: Results) -> dict[str, list[list[float]]]:
  """Bits per byte of every octave by variant, a list a seed."""
  of = lambda runs, kind: [np.mean(run[kind], 0).tolist() for run in runs]
  lines = {name: of(runs, "read") for name, runs in results.items()}
  if _ATTENTION in results:
    lines[_RESTARTED] = of(results[_ATTENTION], "restarted")
  return lines


def _beyond(config: MemoryTextConfig, results: Results) -> str:
  """Table of the gain from a context of more than L bytes."""
  attention = results.get(_ATTENTION)
  rows = []

  for name, runs in results.items():
    read = _mean(config, runs, "read", True)
    again = _mean(config, runs, "restarted", True)
    rows.append([name, *map(_with_error, (read, again, again - read))])
    if attention:
      least = _mean(config, attention, "restarted", True)
      rows[-1].append(_with_error(least - read))

  title = (
    f"\nbits per byte from position {config.data.length:,} on, and ± the"
    " standard error over rows; differences are of the same bytes\n\n"
  )
  heads = ["variant", "read on", "restarted", "gained by reading on"]
  heads += [f"below {_RESTARTED}"] if attention else []
  return title + table(heads, rows)


def _with_error(rows: np.ndarray) -> str:
  """Mean over rows and its standard error."""
  error = statistics.stdev(rows.tolist()) / len(rows) ** 0.5
  return f"{rows.mean():.4f} ± {error:.4f}"


def _sizes(config: MemoryTextConfig, results: Results) -> str:
  """Table of parameters, bytes of the state, and seconds of training."""
  length = config.data.length
  ends = length, length * config.test.times

  rows = [
    [
      name,
      f"{runs[0]['parameters']:,}",
      *(f"{runs[0]['bytes'][str(end)]:,}" for end in ends),
      # A run that was resumed shows fewer than it took.
      f"{max(run['seconds'] for run in runs):.0f}",
    ]
    for name, runs in results.items()
  ]
  heads = ["variant", "parameters", *(f"bytes at {end:,}" for end in ends)]
  return "\nsizes\n\n" + table([*heads, "seconds of a run"], rows)


def check_reach(config: MemoryTextConfig, results: Results) -> str:
  """Checks that a window gains nothing beyond its reach; the result as text.

  In the restarted reading every byte has at least L/2 bytes before it: a window
  that reaches no further must predict each byte as in the whole row.

  Raises:
    RuntimeError: a row differs: then something leaks.
  """
  model = config.model
  # Each block looks back by its window and by its convolution.
  reach = model.depth * ((model.window or 0) + model.convolution - 1)
  lines = []

  for name in ("window", "window + persistent"):
    # A window that reaches further sees less when restarted, and may differ.
    if name not in results or reach > config.data.length // 2:
      continue

    apart = [np.subtract(r["read"], r["restarted"]) for r in results[name]]
    most = float(np.abs(apart).max())
    said = (
      f"{name}: read on or restarted, beyond its reach of {reach} bytes it"
      f" differs by {most:.0e} bits per byte at most"
    )
    if not most <= _LIMIT:
      raise RuntimeError(f"{said}; what it cannot see it cannot know: a leak")
    lines.append(said)

  return "\n".join(lines)


def draw(
  config: MemoryTextConfig, workdir: Path, results: Results
) -> list[Path]:
  """Draws bits per byte over position, and the gain from the whole context."""
  results = {name: runs for name, runs in results.items() if runs}
  spans = octaves(config)

  # Beyond L: before it both readings are the same.
  far = [number for number, (a, _) in enumerate(spans) if a >= spans[2][1]]
  ends = [b for _, b in spans]
  gained = {
    name: [
      np.subtract(run["restarted"], run["read"]).mean(0)[far] for run in runs
    ]
    for name, runs in results.items()
  }

  show = lambda path, x, lines, label, **more: save_lines(
    workdir / path,
    {name: (x, y) for name, y in lines.items()},
    x_label="bytes read, up to",
    y_label=label,
    log_x=True,
    **more,
  )

  return [
    show("by_position.png", ends, _lines(results), "bits per byte"),
    show(
      "gained.png",
      [ends[n] for n in far],
      gained,
      "bits per byte gained by reading on",
      levels={"nothing": 0.0},
    ),
  ]
