"""The regression of `mesh_run` as one of several processes, for tests to end.

Each process has four devices. What it would say in an experiment goes to
standard error here, as it does there.
"""

import argparse
import dataclasses
import sys
import time

import mesh_run

from attnjax import runs, training


@dataclasses.dataclass(frozen=True)
class SlowBatches(mesh_run.Batches):
  """The same batches, each after a pause."""

  pause: float = 0.0

  def rows(self, step, start, stop):
    time.sleep(self.pause)
    return super().rows(step, start, stop)


def main():
  """Joins, trains, and prints which rows were read."""
  parser = argparse.ArgumentParser()
  parser.add_argument("workdir")
  parser.add_argument("--coordinator")
  parser.add_argument("--count", type=int)
  parser.add_argument("--index", type=int)
  parser.add_argument("--fsdp", type=int, default=1)
  parser.add_argument("--steps", type=int, default=mesh_run.STEPS)
  parser.add_argument("--pause", type=float, default=0.0)
  parser.add_argument("--lost", type=int, default=20)
  parser.add_argument("--join", type=int, default=60)
  flags = parser.parse_args()
  processes = training.ProcessesConfig(
    coordinator=flags.coordinator,
    count=flags.count,
    index=flags.index,
    lost_seconds=flags.lost,
    join_seconds=flags.join,
  )
  mesh = runs.MeshConfig(data=0, fsdp=flags.fsdp)
  with training.joined(processes):
    try:
      batches = SlowBatches(pause=flags.pause)
      mesh_run.fit(flags.workdir, mesh, batches, flags.steps)
      print("done")
    except ValueError as error:  # as the entry of an experiment does
      print(f"error: {error}", file=sys.stderr)
      sys.exit(1)


if __name__ == "__main__":
  main()
