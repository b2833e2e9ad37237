"""The tables of the experiment."""

import numpy as np

from attnjax import masks
from attnjax.parallel.layouts import LAYOUTS
from experiments.results import table
from experiments.sharding.config import ShardingConfig
from experiments.sharding.machines import size
from experiments.sharding.measure import Memory, plan_of

__all__ = ["balance_table", "memory_table", "steps_table"]


def memory_table(title: str, found: list[Memory]) -> str:
  """Temporary bytes a device, a row a machine."""
  kinds = list(dict.fromkeys(one.kind for one in found))
  at = {(one.machine, one.length, one.kind): one for one in found}
  rows = []
  for machine, length in dict.fromkeys((x.machine, x.length) for x in found):
    mine = [at[machine, length, kind] for kind in kinds]
    sizes = [f"{one.temporary / 2**20:,.1f} MiB" for one in mine]
    rows.append([machine, size(machine), f"{length:,}", *sizes, _sent(mine)])
  columns = ["machine", "n", "T", *kinds, "sent while tiles run"]
  return f"\n{title}\n\n{table(columns, rows)}"


def _sent(kinds: list[Memory]) -> str:
  """Of the first kind; empty where transfers have no beginning and end."""
  covered, every = kinds[0].in_flight
  return f"{covered} of {every}" if every else ""


def balance_table(config: ShardingConfig) -> str:
  """The most that a device computes of causal attention, by the mean."""
  rows = []
  for machine in config.machines:
    length = config.share * size(machine)
    cells = []
    for layout in LAYOUTS:
      tiles, _ = plan_of(config, layout, masks.causal(), machine, length)
      cells.append(f"{tiles.max() / tiles.mean():.3f}")
    rows.append([machine, size(machine), f"{length:,}", *cells])
  title = "causal tiles of the busiest device / mean"
  return f"\n{title}\n\n{table(['machine', 'n', 'T', *LAYOUTS], rows)}"


def steps_table(config: ShardingConfig) -> str:
  """What a ring computes and sends, mask by mask, on the largest machine."""
  machine = max(config.machines, key=size)
  shards, share = size(machine), config.share
  rows = []
  for name, mask in {
    "full": masks.full(),
    "causal": masks.causal(),
    "window of T / n": masks.sliding_window(share),
    "window of T / n to both sides": masks.sliding_window(share, share),
    "documents of T / n": masks.chunked(share),
  }.items():
    for layout in LAYOUTS:
      tiles, steps = plan_of(config, layout, mask, machine, share * shards)
      # The way begins with a step of its own where it does not begin at home.
      sent = len(steps) - 1 + (steps[0] != 0)
      rows.append([f"{name}, {layout}", len(steps), sent, int(np.sum(tiles))])
  title = f"steps of a ring of {shards}, T = {share * shards:,}"
  columns = ["mask, layout", "computed", "sent", "tiles"]
  return f"\n{title}\n\n{table(columns, rows)}"
