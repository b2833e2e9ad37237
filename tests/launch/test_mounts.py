"""A bucket that is mounted can do what a run does: move, and add to a file."""

import dataclasses
import errno
import os
import re
import shlex

import pytest
import yaml

from launch.gke.manifest import manifest
from launch.job import ROOT, Job
from launch.place import OPTIONS, check_place
from launch.process_layout import process_layout
from launch.sky.task import task
from launch.tpu_pod.script import script

ALL = ("train.mesh.data=0", "data.batch_size=384")
JOB = Job("language_model", "base", ALL, "v5e:4x4", place="gs://mine/x")

# Of gcsfuse 3: without the second no directory is moved in a flat bucket.
NEEDED = {"implicit-dirs", "rename-dir-limit=200000"}


def test_gcsfuse_may_move_the_directory_of_a_checkpoint():
  assert {*OPTIONS} == NEEDED
  [one] = yaml.safe_load(manifest(JOB, process_layout(JOB), "i:1"))["spec"][
    "replicatedJobs"
  ]
  [volume] = one["template"]["spec"]["template"]["spec"]["volumes"]
  attributes = volume["csi"]["volumeAttributes"]
  assert {*attributes["mountOptions"].split(",")} == NEEDED

  text = script(JOB, process_layout(JOB), zone="us-west4-a")
  [line] = re.findall(r"\|\| gcsfuse (.*)$", text, re.MULTILINE)
  *options, bucket, place = shlex.split(line)
  assert {option.removeprefix("--") for option in options} == NEEDED
  assert (bucket, place) == ("mine", "/checkpoints")


def test_the_readme_mounts_for_xpk_in_the_same_way():
  text = (ROOT / "launch" / "gke" / "README.md").read_text()
  [found] = re.findall(r"--mount-options=([^\s`]+)", text)
  assert {*found.split(",")} == NEEDED


@pytest.mark.parametrize(
  ("topology", "place", "mode"),
  [
    ("h100:8", "gs://mine/x", "MOUNT"),
    ("h100:16", "gs://mine/x", "MOUNT"),
    ("v5e:4x4", "gs://mine/x", "MOUNT"),
    ("h100:8", "s3://mine/x", "MOUNT_CACHED"),
  ],
)
def test_sky_mounts_what_files_can_be_added_to(topology, place, mode):
  job = dataclasses.replace(JOB, topology=topology, place=place)
  found = yaml.safe_load(task(job, process_layout(job)))
  assert found["file_mounts"]["/checkpoints"]["mode"] == mode


@pytest.mark.parametrize("topology", ["h100:16", "v5e:4x4"])
def test_a_mount_on_which_hosts_do_not_meet_is_refused(topology):
  job = dataclasses.replace(JOB, topology=topology, place="s3://mine/x")
  with pytest.raises(ValueError, match=r"workdir: \d hosts .* name a gs://"):
    task(job, process_layout(job))


def test_a_bucket_is_written_over_before_anything_is_rented(stubs):
  stubs.add("gcloud", "cat > /dev/null")
  check_place("gs://mine/x")
  words = [call.split()[1] for call in stubs.calls("gcloud")]
  assert words == ["cp", "cp", "rm"]
  once = 'case "$*" in *" cp "*) [ -e {f} ] && exit 1; touch {f} ;; esac'
  stubs.add("gcloud", once.format(f=stubs.folder / "there"))
  with pytest.raises(ValueError, match="gs://mine/x cannot be used"):
    check_place("gs://mine/x")  # a role that makes objects, and changes none


@pytest.mark.parametrize("place", ["local", "slurm", "openmpi", "sweep"])
@pytest.mark.parametrize("call", ["rename", "fsync"])
def test_a_mount_that_cannot_save_is_refused_before_anything_is_queued(
  tmp_path, monkeypatch, stubs, launcher, place, call
):
  def refused(*_):
    raise OSError(errno.EMFILE, "Too many open files")

  monkeypatch.setattr(os, call, refused)  # gcsfuse's of a directory
  for program in ("sbatch", "mpirun"):
    stubs.add(program)
  argv = ["--experiment=heads", "--topology=cpu:1"]
  argv += ["--submit"] if place in ("slurm", "openmpi") else []
  argv += ["--sweep=seeds=1"] if place == "sweep" else []
  code, _, err = launcher(place, *argv, f"--workdir={tmp_path / 'mount' / 'x'}")
  assert code == 1
  assert f"workdir: {tmp_path} cannot " in err
  assert "rename-dir-limit above 0" in err
  assert not stubs.calls("sbatch") + stubs.calls("mpirun")
  assert [path.name for path in tmp_path.iterdir()] == ["stubs"]
