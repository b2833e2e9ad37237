"""Queues an experiment on a Kubernetes cluster of GKE.

python -m launch.gke --experiment=language_model --preset=gpt3 \
    --topology=v5p:8x8x8 --config.train.mesh.fsdp=512 \
    --image=us-docker.pkg.dev/mine/attnjax:1 --workdir=gs://mine/gpt3 --submit
"""

from typing import Any

from absl import flags

from launch.command_line import queue, run, show
from launch.gke.manifest import manifest, xpk_line
from launch.job import ROOT, Job
from launch.layout import layout_of
from launch.place import check_place


def own(values: flags.FlagValues) -> None:
  """What Kubernetes alone wants to know."""
  text: dict[str, Any] = {"flag_values": values}
  flags.DEFINE_string("image", "", "container image with this project", **text)
  flags.DEFINE_string(
    "account", None, "service account that may write to the bucket", **text
  )
  flags.DEFINE_boolean("spot", False, "nodes that may be taken away", **text)
  flags.DEFINE_string(
    "xpk", None, "show the line for xpk and this cluster of it", **text
  )


def program(job: Job, values: flags.FlagValues) -> int:
  """Shows the manifest, or applies it once the bucket can be written."""
  layout = layout_of(job)
  if not values.image:
    raise ValueError(
      "image: expected a container image, got none; launch/gke/README.md says"
      " how to build one"
    )
  if values.xpk:
    return show(xpk_line(job, layout, values.image, values.xpk) + "\n")
  text = manifest(
    job, layout, values.image, spot=values.spot, account=values.account
  )
  if not values.submit:
    return show(text)
  check_place(job.directory)
  path = ROOT / "runs" / "launch" / f"{job.name}.yaml"
  return queue(path, text, "kubectl", "apply", "-f", str(path))


if __name__ == "__main__":
  run(program, own)
