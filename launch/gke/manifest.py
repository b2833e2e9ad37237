"""The Kubernetes JobSet of a job, and the equivalent xpk command."""

import shlex
from typing import Any

import yaml

from attnjax.plan import Topology
from launch.job import Job
from launch.names import check_name
from launch.place import MOUNT, OPTIONS, bucket_of, mounted
from launch.process_layout import ProcessLayout, require_platform
from launch.quoting import for_kubernetes, for_xpk
from launch.rented import chip_names

__all__ = ["manifest", "xpk_line"]

PORT = 8476
RESTARTS = 20
GRACE = 120  # seconds to save in
# Of an error of ours: 1 an exception, 2 a flag that absl refuses.
_OURS = [1, 2]


def manifest(
  job: Job,
  layout: ProcessLayout,
  image: str,
  *,
  spot: bool = False,
  account: str | None = None,
) -> str:
  """The JobSet of a job as YAML, for `kubectl apply`.

  Any process that ends by anything but an error of its own restarts them all,
  and they go on from the newest checkpoint.

  Args:
    job: its place is a bucket, `gs://bucket/folder`.
    layout: of TPUs or GPUs.
    image: container with this project in its working directory.
    spot: whether nodes may be preempted.
    account: service account that may write to the bucket; None is the default.

  Raises:
    ValueError: GKE does not offer the topology, the place is no bucket, or the
      name of the image or of the account is invalid.
  """
  machine = require_platform(layout, "GKE", "tpu", "cuda")
  pod: dict[str, Any] = {
    # A pod started again by itself could not join the others: JobSet restarts
    # all.
    "restartPolicy": "Never",
    "terminationGracePeriodSeconds": GRACE,
    "nodeSelector": _nodes(machine, spot),
    "containers": [_container(job, layout, image)],
    "volumes": [_volume(job)],
  }
  if account is not None:
    pod["serviceAccountName"] = check_name("account", account)

  metadata: dict[str, Any] = {"name": job.name}
  if layout.platform == "tpu":  # a pool of GPUs need not be one job's
    metadata["annotations"] = {
      "alpha.jobset.sigs.k8s.io/exclusive-topology": (
        "cloud.google.com/gke-nodepool"
      )
    }

  jobset = {
    "apiVersion": "jobset.x-k8s.io/v1alpha2",
    "kind": "JobSet",
    "metadata": metadata,
    "spec": {
      "failurePolicy": {
        "maxRestarts": RESTARTS,
        "rules": [
          {
            # An error of the program would come again: the JobSet fails at
            # once.
            "name": "ours",
            "action": "FailJobSet",
            "onJobFailureReasons": ["PodFailurePolicy"],
          }
        ],
      },
      "replicatedJobs": [
        {"name": "run", "replicas": 1, "template": _template(layout, pod)}
      ],
    },
  }
  return yaml.safe_dump(jobset, sort_keys=False)


def xpk_line(
  job: Job,
  layout: ProcessLayout,
  image: str,
  cluster: str,
  *,
  spot: bool = False,
) -> str:
  """The `xpk workload create` command of a job; xpk writes its own JobSet.

  The bucket has to be mounted by `xpk storage attach` at `/checkpoints`.

  Args:
    job: as for `manifest`.
    layout: of TPUs.
    image: as for `manifest`.
    cluster: of xpk, 1.0 or newer, which takes the shape of a slice. A count is
      ambiguous: chips or TensorCores, and one of several shapes.
    spot: whether the nodes that xpk makes may be preempted.

  Raises:
    ValueError: as `manifest`; or a setting has the end of a line in it.
  """
  machine = require_platform(layout, "xpk", "tpu")
  kind = chip_names(machine.chip.name).machine or machine.chip.name
  shape = "x".join(map(str, machine.shape))
  _gs_only(job, "xpk")
  line = for_xpk(job.line("python", mounted(job.directory)))
  cluster, image = check_name("xpk", cluster), check_name("image", image)

  return shlex.join(
    (
      *("xpk", "workload", "create", f"--cluster={cluster}"),
      *(f"--workload={job.name}", f"--tpu-type={kind}-{shape}"),
      *("--num-slices=1", f"--docker-image={image}"),
      *(["--spot"] if spot else []),
      f"--max-restarts={RESTARTS}",
      "--restart-on-exit-codes=75",  # asked to stop, and saved
      f"--termination-grace-period-seconds={GRACE}",
      f"--command={line}",
    )
  )


def _template(layout: ProcessLayout, pod: dict[str, Any]) -> dict[str, Any]:
  """The template of an indexed Kubernetes Job with one pod a process."""
  # GKE adds the container that mounts the bucket to pods with this note.
  metadata = {"annotations": {"gke-gcsfuse/volumes": "true"}}

  return {
    "spec": {
      "parallelism": layout.processes,
      "completions": layout.processes,
      "completionMode": "Indexed",
      "backoffLimit": 0,  # one is lost: all begin again, together
      "podFailurePolicy": {
        "rules": [
          {
            "action": "FailJob",
            "onExitCodes": {
              "containerName": "run",
              "operator": "In",
              "values": _OURS,
            },
          }
        ]
      },
      "template": {"metadata": metadata, "spec": pod},
    }
  }


def _nodes(machine: Topology, spot: bool) -> dict[str, str]:
  """The nodeSelector: labels of nodes with the right chips."""
  name, label = chip_names(machine.chip.name).gke, "cloud.google.com/gke-"
  # GPUs have one label. TPUs have another, and the shape of the slice.
  labels = {f"{label}accelerator": name}
  if machine.chip.platform == "tpu":
    shape = "x".join(map(str, machine.shape))
    labels = {f"{label}tpu-accelerator": name, f"{label}tpu-topology": shape}
  return labels | ({f"{label}spot": "true"} if spot else {})


def _container(job: Job, layout: ProcessLayout, image: str) -> dict[str, Any]:
  """The container of a pod, as a Kubernetes spec."""
  machine, tpu = layout.machine, layout.platform == "tpu"
  each = layout.devices_each // (machine.chip.devices if machine else 1)
  resource = "google.com/tpu" if tpu else "nvidia.com/gpu"

  environment = {}
  if not tpu and layout.processes > 1:  # of TPUs GKE says who they are
    # The DNS name that JobSet gives pod 0 of job 0 of `run`. JAX reads the
    # index of a process from JOB_COMPLETION_INDEX.
    first = f"{job.name}-run-0-0.{job.name}:{PORT}"
    environment = {
      "JAX_COORDINATOR_ADDRESS": first,
      "JAX_NUM_PROCESSES": str(layout.processes),
    }

  return {
    "name": "run",
    "image": check_name("image", image),
    "command": for_kubernetes(job.line("python", mounted(job.directory))),
    "env": [{"name": n, "value": v} for n, v in environment.items()],
    "ports": [{"containerPort": PORT}],
    "resources": {"limits": {resource: each}},
    "volumeMounts": [{"name": "checkpoints", "mountPath": MOUNT}],
  }


def _volume(job: Job) -> dict[str, Any]:
  """The volume of a bucket, mounted by GKE's gcsfuse driver."""
  return {
    "name": "checkpoints",
    "csi": {
      "driver": "gcsfuse.csi.storage.gke.io",
      "volumeAttributes": {
        "bucketName": _gs_only(job, "GKE"),
        "mountOptions": ",".join(OPTIONS),
      },
    },
  }


def _gs_only(job: Job, who: str) -> str:
  """Name of the bucket of a job, which must be `gs://`."""
  bucket, _ = bucket_of(job.directory)
  if not bucket.startswith("gs://"):
    raise ValueError(
      f"workdir: {who} mounts gs://bucket/folder, got {job.directory!r}; name a"
      " bucket of Google Cloud"
    )
  return bucket.removeprefix("gs://")
