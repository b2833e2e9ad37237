"""Shell script that creates a TPU slice, sets it up, runs and deletes it."""

import shlex

from launch.install import install
from launch.job import ROOT, Job
from launch.names import check_name
from launch.place import MOUNT, OPTIONS, bucket_of, mounted
from launch.process_layout import ProcessLayout, require_platform
from launch.rented import chip_names

__all__ = ["script"]

# `git archive` sends what is committed and nothing else. `[m]` in the pattern
# of pkill does not match the shell whose command line has it.
_SCRIPT = """\
#!/bin/bash
# bash THIS create | setup | run | logs | stop | delete
set -euo pipefail
name={name}
where=(--zone={zone})

everywhere() {{
  gcloud compute tpus tpu-vm ssh "$name" "${{where[@]}}" --worker=all \\
    --command="$1"
}}

case "${{1:-}}" in
create)
  gcloud compute tpus tpu-vm create "$name" "${{where[@]}}" \\
    --type={kind} --topology={shape} --version={image}{spot}
  ;;
setup)
  archive=$(mktemp --suffix=.tar.gz)
  git -C {root} archive --format=tar.gz --output="$archive" HEAD
  gcloud compute tpus tpu-vm scp "$archive" "$name":attnjax.tar.gz \\
    "${{where[@]}}" --worker=all
  everywhere {setup}
  ;;
run)
  everywhere {run}
  ;;
logs)
  gcloud compute tpus tpu-vm ssh "$name" "${{where[@]}}" --worker=0 \\
    --command="tail -n 100 -F attnjax/run.log"
  ;;
stop)
  # SIGTERM: every process saves after the step it is at.
  everywhere "pkill -TERM -f '[m] {module}'"
  ;;
delete)
  gcloud compute tpus tpu-vm delete "$name" "${{where[@]}}" --quiet
  ;;
*)
  sed -n 2p "$0"
  exit 2
  ;;
esac
"""

_MOUNT = """\
set -e
export GCSFUSE_REPO=gcsfuse-$(lsb_release -c -s)
echo "deb https://packages.cloud.google.com/apt $GCSFUSE_REPO main" |
  sudo tee /etc/apt/sources.list.d/gcsfuse.list > /dev/null
curl -fsS https://packages.cloud.google.com/apt/doc/apt-key.gpg |
  sudo tee /etc/apt/trusted.gpg.d/gcsfuse.asc > /dev/null
sudo apt-get update -qq && sudo apt-get install -y -qq gcsfuse
sudo mkdir -p {mount} && sudo chown "$USER" {mount}
mountpoint -q {mount} || gcsfuse {options} {bucket} {mount}
"""

_UNPACK = """\
mkdir -p attnjax && tar -xzf attnjax.tar.gz -C attnjax && cd attnjax
"""


# In the background: the connection may break. The mount is gone after a
# reboot, and then the checkpoints would be too.
_RUN = """\
cd attnjax 2> /dev/null && test -x .venv/bin/python &&
  mountpoint -q {mount} || {{
  echo "error: $(hostname) is not set up; give this script the word setup," \
    "and then run" >&2
  exit 1
}}
echo '+ again' >> run.log
nohup {line} >> run.log 2>&1 < /dev/null & disown
"""


def script(
  job: Job, layout: ProcessLayout, *, zone: str, spot: bool = False
) -> str:
  """The shell script of a slice; its argument is the action.

  Args:
    job: its place is a bucket, `gs://bucket/folder`.
    layout: of TPUs.
    zone: of Google Cloud.
    spot: whether the slice may be preempted.

  Raises:
    ValueError: there are no TPU VMs of the chip, the place is no bucket, or the
      zone is no valid name.
  """
  machine = require_platform(layout, "a TPU pod", "tpu")
  names = chip_names(machine.chip.name)
  if names.machine is None:
    raise ValueError(
      f"topology: there are no TPU VMs of {machine.chip.title}; python -m"
      " launch.gke runs on it"
    )

  bucket, _ = bucket_of(job.directory)
  if not bucket.startswith("gs://"):
    raise ValueError(
      f"workdir: TPU VMs mount gs://bucket/folder, got {job.directory!r}"
    )

  mount = _MOUNT.format(
    mount=MOUNT,
    options=" ".join(f"--{option}" for option in OPTIONS),
    bucket=shlex.quote(bucket.removeprefix("gs://")),
  )
  return _SCRIPT.format(
    name=job.name,
    zone=check_name("zone", zone),
    kind=names.machine,
    shape="x".join(map(str, machine.shape)),
    image=names.image,
    spot=" --spot" if spot else "",
    root=shlex.quote(str(ROOT)),
    setup=shlex.quote(mount + _UNPACK + install("tpu")),
    run=shlex.quote(_run(job)),
    module=f"experiments.{job.experiment}",
  )


def _run(job: Job) -> str:
  """The command of each host; exit code 1 where it was not set up."""
  line = shlex.join(job.line(".venv/bin/python", mounted(job.directory)))
  return _RUN.format(mount=MOUNT, line=line)
