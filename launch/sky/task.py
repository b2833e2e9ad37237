"""The SkyPilot task of a job."""

import shlex
from typing import Any

import yaml

from launch.install import install
from launch.job import ROOT, Job
from launch.place import MOUNT, bucket_of, mounted
from launch.process_layout import ProcessLayout, require_platform
from launch.rented import chip_names, sky_accelerators

__all__ = ["task"]


def task(
  job: Job,
  layout: ProcessLayout,
  *,
  spot: bool = False,
  finished: str | None = None,
) -> str:
  """The SkyPilot task of a job as YAML, for `sky jobs launch`.

  Args:
    job: its place is a bucket, `gs://bucket/folder` or `s3://bucket/folder`.
    layout: of TPUs or GPUs.
    spot: whether machines may be preempted.
    finished: a folder of the bucket, in which a file with the name of the job
      marks it as done; None writes none.

  Raises:
    ValueError: SkyPilot does not offer the topology, the place is no bucket, or
      one that its machines cannot all write to.
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
    image = chip_names(machine.chip.name).image
    resources["accelerator_args"] = {"runtime_version": image}

  described = {
    "name": job.name,
    "workdir": str(ROOT),
    # A slice of TPUs is one node of SkyPilot, which knows its hosts.
    "num_nodes": 1 if tpu else layout.hosts,
    "resources": resources,
    "file_mounts": {MOUNT: {"source": bucket, "mode": _mode(job, layout)}},
    "setup": "set -e\n" + install("tpu" if tpu else "cuda"),
    "run": _run(job, finished),
  }
  return yaml.safe_dump(described, sort_keys=False)


def _mode(job: Job, layout: ProcessLayout) -> str:
  """Mount mode of the bucket that lets a run append to files.

  SkyPilot mounts gs:// with gcsfuse, set to rename directories, and s3:// with
  goofys, which cannot append to a file. MOUNT_CACHED, through a cache on the
  local disk, can; but other machines see the writes late.
  """
  if job.directory.startswith("gs://"):
    return "MOUNT"
  if layout.hosts > 1:
    raise ValueError(
      f"workdir: {layout.hosts} hosts write one checkpoint together, and"
      " SkyPilot mounts s3:// for that without adding to a file, which a run"
      f" does, got {job.directory!r}; name a gs:// bucket, or a topology of one"
      " host"
    )

  return "MOUNT_CACHED"


def _run(job: Job, finished: str | None) -> str:
  """The `run` script of each host."""
  where = mounted(job.directory)
  line = shlex.join(job.line(".venv/bin/python", where))
  if finished is None:
    return line + "\n"

  folder = shlex.quote(mounted(finished))
  name = shlex.quote(where.rsplit("/", 1)[-1])
  asked = shlex.quote(shlex.join(job.asked()))
  return (
    f"set -e\n{line}\n"
    # Every host runs this script, and one of them writes the mark.
    'if [ "${SKYPILOT_NODE_RANK:-0}" = 0 ]; then\n'
    f"  mkdir -p {folder}\n  printf '%s\\n' {asked} > {folder}/{name}\nfi\n"
  )
