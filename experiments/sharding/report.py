"""Tables of the experiment on sharded attention."""

import numpy as np

from attnjax import masks
from attnjax.parallel.token_layouts import LAYOUTS
from attnjax.plan import topology
from attnjax.runs import table
from experiments.sharding.config import ShardingConfig
from experiments.sharding.measure import Memory, plan_of

__all__ = ["balance_table", "memory_table", "steps_table"]


def memory_table(title: str, found: list[Memory]) -> str:
  """Table of temporary memory of a device, a row a machine."""
  kinds = list(dict.fromkeys(one.kind for one in found))
  at = {(one.machine, one.length, one.kind): one for one in found}
  rows = []

  for machine, length in dict.fromkeys((x.machine, x.length) for x in found):
    mine = [at[machine, length, kind] for kind in kinds]
    sizes = [f"{one.temporary / 2**20:,.1f} MiB" for one in mine]
    # Of the first kind; a CPU's transfers have no beginning and end.
    covered, every = mine[0].in_flight
    sent = f"{covered} of {every}" if every else ""
    devices = topology(machine).devices
    rows.append([machine, devices, f"{length:,}", *sizes, sent])

  columns = ["machine", "n", "T", *kinds, "sent while tiles run"]
  return f"\n{title}\n\n{table(columns, rows)}"


def balance_table(config: ShardingConfig) -> str:
  """Table of causal tiles of the busiest device, divided by the mean."""
  rows = []

  for machine in config.machines:
    devices = topology(machine).devices
    length = config.share * devices
    cells = []
    for layout in LAYOUTS:
      tiles, _ = plan_of(config, layout, masks.causal(), machine, length)
      cells.append(f"{tiles.max() / tiles.mean():.3f}")
    rows.append([machine, devices, f"{length:,}", *cells])

  title = "causal tiles of the busiest device / mean"
  return f"\n{title}\n\n{table(['machine', 'n', 'T', *LAYOUTS], rows)}"


def steps_table(config: ShardingConfig) -> str:
  """Table of what a ring computes and sends, on the largest machine."""
  machine = max(config.machines, key=lambda name: topology(name).devices)
  shards, share = topology(machine).devices, config.share
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
      # A ring whose first step is not the device's own shard sends once more.
      sent = len(steps) - 1 + (steps[0] != 0)
      rows.append([f"{name}, {layout}", len(steps), sent, int(np.sum(tiles))])

  title = f"steps of a ring of {shards}, T = {share * shards:,}"
  columns = ["mask, layout", "computed", "sent", "tiles"]
  return f"\n{title}\n\n{table(columns, rows)}"
