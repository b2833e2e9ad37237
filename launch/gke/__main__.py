"""Queues an experiment on a Kubernetes cluster of GKE.

python -m launch.gke --experiment=language_model --preset=gpt3 \
    --topology=v5p:8x8x8 --config.train.mesh.fsdp=512 \
    --config.train.microbatches=3 --image=us-docker.pkg.dev/mine/attnjax:1 \
    --workdir=gs://mine/gpt3 --submit
"""

import sys
from typing import Any

from absl import flags

from launch.command_line import queue, run, show
from launch.gke.manifest import manifest, xpk_line
from launch.job import ROOT, Job
from launch.paths import check_bucket_of, with_mounted_paths
from launch.process_layout import process_layout


def define_own(values: flags.FlagValues) -> None:
  """Defines the flags of this launcher."""
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
  """Shows the manifest, or checks the bucket and applies it."""
  layout = process_layout(job)
  if not values.image:
    raise ValueError(
      "image: expected a container image, got none; launch/gke/README.md says"
      " how to build one"
    )

  job = with_mounted_paths(job)
  if values.xpk is not None:
    _refuse_beside_xpk(values)
    print(xpk_line(job, layout, values.image, values.xpk, spot=values.spot))
    print("(nothing is queued: run this where xpk is)", file=sys.stderr)
    return 0

  text = manifest(
    job, layout, values.image, spot=values.spot, account=values.account
  )
  if not values.submit:
    return show(text)

  check_bucket_of(job.directory, [job])
  path = ROOT / "runs" / "launch" / f"{job.name}.yaml"
  return queue(path, text, "kubectl", "apply", "-f", str(path))


def _refuse_beside_xpk(values: flags.FlagValues) -> None:
  """Refuses flags that have no effect beside `--xpk`."""
  if values.submit:
    raise ValueError(
      "submit: --xpk only shows a line, got both; leave --submit out, and run"
      " the line where xpk is"
    )
  if values.account is not None:
    raise ValueError(
      "account: xpk runs as its own service account, xpk-sa, got"
      f" {values.account!r}; leave --account out, and let xpk-sa write to the"
      " bucket"
    )


if __name__ == "__main__":
  run(program, define_own)
