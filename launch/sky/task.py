"""The SkyPilot task of a job."""

import shlex
from typing import Any

import yaml

from launch.job import ROOT, Job
from launch.layout import Layout, require_platform
from launch.place import MOUNT, bucket_of, mounted
from launch.rented import rented, sky_accelerators

__all__ = ["task"]

_SETUP = """\
python3 -m venv .venv
.venv/bin/pip install -e '.[experiments,{extra}]' -c constraints.txt
"""


def task(
  job: Job, layout: Layout, *, spot: bool = False, finished: str | None = None
) -> str:
  """The YAML for `sky launch` and `sky jobs launch`.

  Args:
    job: its place is a bucket, `gs://bucket/folder` or `s3://bucket/folder`.
    layout: of TPUs or GPUs.
    spot: whether machines may be taken away.
    finished: a place of the bucket in which a file named for the job says that
      it is done; None leaves none.

  Raises:
    ValueError: the topology is not to be had there, or the place no bucket.
  """
  machine = require_platform(layout, "SkyPilot", "tpu", "cuda")
  tpu = layout.platform == "tpu"
  bucket, _ = bucket_of(job.directory)
  resources: dict[str, Any] = {
    "accelerators": sky_accelerators(machine, layout.hosts),
    "use_spot": spot,
    # 75: asked to stop, and saved; the same command goes on.
    "job_recovery": {"recover_on_exit_codes": [75]},
  }
  if tpu:
    image = rented(machine.chip.name).image
    resources["accelerator_args"] = {"runtime_version": image}
  described = {
    "name": job.name,
    "workdir": str(ROOT),
    # A slice of TPUs is one node of SkyPilot, which knows its hosts.
    "num_nodes": 1 if tpu else layout.hosts,
    "resources": resources,
    "file_mounts": {MOUNT: {"source": bucket, "mode": "MOUNT"}},
    "setup": _SETUP.format(extra="tpu" if tpu else "cuda"),
    "run": _run(job, finished),
  }
  return yaml.safe_dump(described, sort_keys=False)


def _run(job: Job, finished: str | None) -> str:
  """What every host runs."""
  where = mounted(job.directory)
  line = shlex.join(job.line(".venv/bin/python", where))
  if finished is None:
    return line + "\n"
  folder = shlex.quote(mounted(finished))
  name = shlex.quote(where.rsplit("/", 1)[-1])
  asked = shlex.quote(shlex.join(job.asked()))
  return (
    f"set -e\n{line}\n"
    'if [ "${SKYPILOT_NODE_RANK:-0}" = 0 ]; then\n'
    f"  mkdir -p {folder}\n  echo {asked} > {folder}/{name}\nfi\n"
  )
