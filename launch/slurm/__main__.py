"""Queues an experiment on a cluster with SLURM.

python -m launch.slurm --experiment=language_model --preset=gpt2_small \
    --topology=h100:16 --config.train.mesh.data=0 \
    --config.train.microbatches=2 --sbatch=--partition=gpu \
    --workdir=runs/gpt2 --submit
"""

from pathlib import Path

from absl import flags

from launch.command_line import queue, run, show
from launch.job import Job
from launch.paths import with_absolute_paths
from launch.place import check_place
from launch.process_layout import process_layout, require_platform
from launch.slurm.script import script


def define_own(values: flags.FlagValues) -> None:
  """Defines the flags of this launcher."""
  flags.DEFINE_multi_string(
    "sbatch",
    [],
    "an option of sbatch, such as --sbatch=--time=4:00:00",
    flag_values=values,
  )


def program(job: Job, values: flags.FlagValues) -> int:
  """Shows the script, or checks the directory and queues it."""
  layout = process_layout(job, process_a_gpu=True)
  require_platform(layout, "SLURM", "cuda", "cpu")
  asked, job = job.directory, with_absolute_paths(job, "all nodes")
  text = script(job, layout, values.sbatch)
  if not values.submit:
    return show(text)
  check_place(asked)  # as it was given, for a link may lead nowhere
  path = Path(job.place) / "job.sbatch"
  return queue(path, text, "sbatch", str(path))


if __name__ == "__main__":
  run(program, define_own)
