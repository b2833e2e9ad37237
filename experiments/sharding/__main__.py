"""Compiles sharded attention for each machine and prints its memory."""

from pathlib import Path

from attnjax import config as configs
from attnjax.plan import topology
from attnjax.runs import write_results
from experiments.sharding import report
from experiments.sharding.config import PRESETS, ShardingConfig
from experiments.sharding.measure import memory


def main(config: ShardingConfig, workdir: Path) -> None:
  """Prints what needs no compiling, then compiles machine after machine."""
  print(report.balance_table(config), flush=True)
  print(report.steps_table(config), flush=True)

  fixed, growing = [], []
  for machine in config.machines:
    for kind in config.kinds:
      fixed.append(memory(config, machine, kind, config.length))
      longer = config.share * topology(machine).devices
      # Compiling takes most of a minute: the same program once.
      growing.append(
        fixed[-1]
        if longer == config.length
        else memory(config, machine, kind, longer)
      )
      print(f"{machine}, {kind}: compiled", flush=True)

  title = "temporary memory a device, gradient, "
  print(report.memory_table(title + "the same T", fixed))
  print(report.memory_table(title + "T growing with the machine", growing))

  found = {"fixed": fixed, "growing": growing}
  write_results(
    workdir, {n: [one._asdict() for one in x] for n, x in found.items()}
  )


if __name__ == "__main__":
  configs.run(main, PRESETS, experiment="sharding")
