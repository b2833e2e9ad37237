"""Runs an experiment on this machine, in one process or several.

python -m launch.local --experiment=language_model --topology=cpu:8 \
    --processes=2 --config.train.mesh.data=0
"""

from absl import flags

from launch.command_line import run
from launch.job import Job
from launch.local.processes import line_here, run_together
from launch.paths import with_absolute_paths
from launch.place import check_place
from launch.process_layout import process_layout


def program(job: Job, values: flags.FlagValues) -> int:
  """Checks and runs the job; returns its exit code."""
  if values.submit:
    raise ValueError(
      "submit: expected none, for here a job runs at once; leave it out"
    )

  layout = process_layout(job)
  if "://" in job.directory:
    raise ValueError(
      f"workdir: expected a directory of this machine, got {job.directory!r};"
      " mount the bucket, and name where it is"
    )

  check_place(job.directory)
  job = with_absolute_paths(job, "this machine")  # it runs in another directory
  return run_together(line_here(job), layout)


if __name__ == "__main__":
  run(program)
