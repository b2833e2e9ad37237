"""Writes the script that runs an experiment on a slice of TPU VMs.

python -m launch.tpu_pod --experiment=language_model --preset=gpt2_small \
    --topology=v5e:4x4 --config.train.mesh.data=0 \
    --config.train.microbatches=2 --zone=us-west4-a --spot \
    --workdir=gs://mine/gpt2 --submit
"""

from absl import flags

from launch.command_line import queue, run, show
from launch.job import ROOT, Job
from launch.paths import check_bucket_of, with_mounted_paths
from launch.process_layout import process_layout
from launch.tpu_pod.script import script


def define_own(values: flags.FlagValues) -> None:
  """Defines the flags of this launcher."""
  flags.DEFINE_string(
    "zone", "", "of Google Cloud, such as us-west4-a", flag_values=values
  )
  flags.DEFINE_boolean(
    "spot", False, "a slice that may be taken away", flag_values=values
  )


def program(job: Job, values: flags.FlagValues) -> int:
  """Shows the script, or checks the bucket, writes the script and runs it."""
  layout = process_layout(job)
  if not values.zone:
    raise ValueError(
      "zone: expected a zone of Google Cloud, got none; add --zone=us-west4-a"
    )

  job = with_mounted_paths(job)
  text = script(job, layout, zone=values.zone, spot=values.spot)
  if not values.submit:
    return show(text)

  check_bucket_of(job.directory, [job])
  path = ROOT / "runs" / "launch" / f"{job.name}.sh"
  steps = " && ".join(
    f'bash "$0" {step}' for step in ("create", "setup", "run")
  )
  return queue(path, text, "bash", "-c", steps, str(path))


if __name__ == "__main__":
  run(program, define_own)
