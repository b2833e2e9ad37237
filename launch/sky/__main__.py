"""Queues an experiment with SkyPilot.

python -m launch.sky --experiment=language_model --preset=gpt2_small \
    --topology=h100:8 --config.train.mesh.data=0 --spot \
    --workdir=gs://mine/gpt2 --submit
"""

from absl import flags

from launch.command_line import queue, run, show
from launch.job import ROOT, Job
from launch.paths import check_bucket_of, with_mounted_paths
from launch.process_layout import process_layout
from launch.sky.task import task


def define_own(values: flags.FlagValues) -> None:
  """Defines the flags of this launcher."""
  flags.DEFINE_boolean(
    "spot", False, "machines that may be taken away", flag_values=values
  )


def program(job: Job, values: flags.FlagValues) -> int:
  """Shows the task, or checks the bucket and queues it."""
  layout, job = process_layout(job), with_mounted_paths(job)
  text = task(job, layout, spot=values.spot)
  if not values.submit:
    return show(text)

  check_bucket_of(job.directory, [job])
  path = ROOT / "runs" / "launch" / f"{job.name}.sky.yaml"
  return queue(
    path,
    text,
    "sky",
    "jobs",
    "launch",
    "--yes",
    f"--name={job.name}",
    str(path),
  )


if __name__ == "__main__":
  run(program, define_own)
