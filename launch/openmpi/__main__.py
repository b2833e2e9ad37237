"""Runs an experiment on hosts with Open MPI.

python -m launch.openmpi --experiment=language_model --topology=cpu:2 \
    --processes=2 --config.train.mesh.data=0 --submit
"""

import dataclasses
import os
import shlex

from absl import flags

from launch.command_line import run, show
from launch.job import Job
from launch.openmpi.command import command, options
from launch.paths import with_absolute_paths
from launch.place import check_place
from launch.process_layout import process_layout, require_platform


def define_own(values: flags.FlagValues) -> None:
  """Defines the flags of this launcher."""
  flags.DEFINE_multi_string(
    "mpirun",
    [],
    "an option of mpirun, such as --mpirun=--hostfile=hosts",
    flag_values=values,
  )
  flags.DEFINE_string(
    "coordinator",
    None,
    "host:port of the first process; Open MPI says it before version 5",
    flag_values=values,
  )


def program(job: Job, values: flags.FlagValues) -> int:
  """Shows the mpirun line, or checks the directory and runs it (exec)."""
  if values.coordinator is not None:
    name = f"train.processes.coordinator={values.coordinator}"
    job = dataclasses.replace(job, overrides=(*job.overrides, name))

  layout = process_layout(job, process_a_gpu=True)
  require_platform(layout, "Open MPI", "cuda", "cpu")
  asked, job = job.directory, with_absolute_paths(job, "all hosts")
  extra = options(values.mpirun)
  line = command(job, layout, extra)
  if not values.submit:
    return show(shlex.join(line) + "\n")

  check_place(asked)  # as it was given, for a link may lead nowhere

  try:
    # In place of this process: signals reach mpirun, and its exit code is ours.
    os.execvp(line[0], line)
  except FileNotFoundError:
    raise ValueError(
      "mpirun is not installed here; install Open MPI, or take python -m"
      " launch.local"
    ) from None


if __name__ == "__main__":
  run(program, define_own)
