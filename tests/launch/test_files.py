"""The generated files: what has to be true of each, whatever it looks like."""

import subprocess

import pytest
import yaml

from attnjax.plan import CHIPS
from launch.gke.__main__ import define_own as gke_flags
from launch.gke.__main__ import program as gke
from launch.gke.manifest import manifest
from launch.job import Job
from launch.process_layout import process_layout
from launch.rented import chip_names
from launch.sky.task import task
from launch.slurm.__main__ import define_own as slurm_flags
from launch.slurm.__main__ import program as slurm
from launch.slurm.script import script
from launch.tpu_pod.script import script as pod_script

ALL = ("train.mesh.data=0", "data.batch_size=384")


def job(topology, place="gs://mine/runs/x"):
  """A language model on some machine."""
  return Job("language_model", "base", ALL, topology, place=place)


@pytest.mark.parametrize("topology", ["v5e:4x4", "tpu7x:4x4x4", "h100:16"])
def test_a_jobset_has_every_chip_once_and_restarts_as_one(topology):
  layout = process_layout(job(topology))
  found = yaml.safe_load(manifest(job(topology), layout, "i:1", spot=True))
  assert (found["apiVersion"], found["kind"]) == (
    "jobset.x-k8s.io/v1alpha2",
    "JobSet",
  )
  [replicated] = found["spec"]["replicatedJobs"]
  spec = replicated["template"]["spec"]
  assert spec["parallelism"] == spec["completions"] == layout.processes
  assert spec["completionMode"] == "Indexed"
  assert spec["backoffLimit"] == 0  # one lost pod is the whole set's affair
  assert found["spec"]["failurePolicy"]["maxRestarts"] > 0
  [rule] = spec["podFailurePolicy"]["rules"]
  assert 75 not in rule["onExitCodes"]["values"]  # asked to stop, and saved
  pod = spec["template"]["spec"]
  [container] = pod["containers"]
  assert rule["onExitCodes"]["containerName"] == container["name"]
  [(kind, each)] = container["resources"]["limits"].items()
  chip = layout.machine.chip
  assert each * spec["completions"] * chip.devices == layout.machine.devices
  assert (
    kind == {"tpu": "google.com/tpu", "cuda": "nvidia.com/gpu"}[chip.platform]
  )
  assert chip_names(chip.name).gke in pod["nodeSelector"].values()
  assert pod["nodeSelector"]["cloud.google.com/gke-spot"] == "true"
  assert pod["restartPolicy"] == "Never"
  [volume], [mount] = pod["volumes"], container["volumeMounts"]
  assert volume["name"] == mount["name"]
  assert volume["csi"]["volumeAttributes"]["bucketName"] == "mine"
  # The longest name of a pod, which is a name of a host too.
  assert len(f"{found['metadata']['name']}-run-0-9999-abcde") <= 63


@pytest.mark.parametrize(
  ("topology", "accelerators", "nodes"),
  [
    ("v4:4x4x4", "tpu-v4-128", 1),
    ("v5e:4x4", "tpu-v5litepod-16", 1),
    ("v5p:4x4x4", "tpu-v5p-128", 1),
    ("v6e:4x4", "tpu-v6e-16", 1),
    ("h100:16", "H100:8", 2),
    ("a100:4", "A100-80GB:4", 1),
  ],
)
def test_a_sky_task_asks_for_the_whole_machine(topology, accelerators, nodes):
  found = yaml.safe_load(task(job(topology), process_layout(job(topology))))
  assert found["resources"]["accelerators"] == accelerators
  assert found["num_nodes"] == nodes
  assert found["file_mounts"]["/checkpoints"]["source"] == "gs://mine"


def test_every_chip_of_the_plan_has_its_names():
  for name, chip in CHIPS.items():
    assert chip_names(name).gke
    assert (chip_names(name).machine is None) == (
      chip.platform == "cuda" or name == "tpu7x"
    )
  for make in (task, lambda j, x: pod_script(j, x, zone="here")):
    tpu7x = job("tpu7x:4x4x4")
    with pytest.raises(ValueError, match=r"launch\.gke runs on it"):
      make(tpu7x, process_layout(tpu7x))


@pytest.mark.parametrize("place", ["runs/x", "gs://mine", "ftp://a/b", ""])
def test_what_is_rented_needs_a_folder_of_a_bucket(place):
  lost = job("v5e:4x4", place)
  for make in (
    lambda: task(lost, process_layout(lost)),
    lambda: manifest(lost, process_layout(lost), "i:1"),
    lambda: pod_script(lost, process_layout(lost), zone="here"),
  ):
    with pytest.raises(ValueError, match="workdir: expected"):
      make()


@pytest.mark.parametrize(
  ("code", "restarted", "requeued"),
  [
    (0, 0, False),
    (1, 0, False),
    (75, 0, True),
    (137, 3, True),
    (75, 20, False),
  ],
)
def test_a_batch_script_requeues_what_is_worth_it(
  tmp_path, stubs, monkeypatch, code, restarted, requeued
):
  stubs.add("srun", f"exit {code}")
  stubs.add("scontrol")
  monkeypatch.setenv("SLURM_JOB_ID", "17")
  monkeypatch.setenv("SLURM_RESTART_COUNT", str(restarted))
  alone = job("h100:16", str(tmp_path))
  text = script(alone, process_layout(alone, process_a_gpu=True), ["--time=5"])
  done = subprocess.run(["bash", "-c", text], check=False)
  assert done.returncode == code
  assert stubs.calls("scontrol") == (["requeue 17"] if requeued else [])
  assert "-m experiments.language_model --preset=base" in stubs.calls("srun")[0]
  options = [x.split()[1] for x in text.splitlines() if x.startswith("#SBATCH")]
  assert {"--nodes=2", "--ntasks-per-node=8", "--gpus-per-node=8"} <= {*options}
  assert {"--requeue", "--time=5"} <= {*options}


def flags_of(own, *argv):
  """The flags of a launcher, parsed."""
  from absl import flags

  from launch.command_line import define

  values = flags.FlagValues()
  define(values)
  own(values)
  values(["x", *argv])
  return values


def test_nothing_is_queued_where_nothing_can_be_written(tmp_path, stubs):
  stubs.add("sbatch")
  stubs.add("kubectl")
  stubs.add("gcloud", "echo 'ERROR: 403 on the bucket' >&2; exit 1")
  (tmp_path / "file").write_text("in the way")
  lost = job("h100:16", str(tmp_path / "file" / "x"))
  with pytest.raises(ValueError, match="cannot be written"):
    slurm(lost, flags_of(slurm_flags, "--submit"))
  with pytest.raises(ValueError, match="403 on the bucket; log in"):
    gke(job("v5e:4x4"), flags_of(gke_flags, "--submit", "--image=i:1"))
  assert stubs.calls("sbatch") == stubs.calls("kubectl") == []
  assert "storage cp - gs://mine/runs/x/.writable-" in stubs.calls("gcloud")[0]


def test_what_can_be_written_is_queued(tmp_path, stubs):
  stubs.add("sbatch")
  good = job("h100:16", str(tmp_path / "new"))
  assert slurm(good, flags_of(slurm_flags, "--submit")) == 0
  [path] = stubs.calls("sbatch")
  assert path == str(tmp_path / "new" / "job.sbatch")
  assert "#SBATCH --requeue" in (tmp_path / "new" / "job.sbatch").read_text()


def test_a_pod_script_does_one_thing_a_word(stubs, monkeypatch):
  stubs.add("gcloud", "cat > /dev/null")
  slice_ = job("v6e:4x4")
  text = pod_script(slice_, process_layout(slice_), zone="here-1", spot=True)
  for word, expected in (
    ("create", f"create {slice_.name} --zone=here-1 --type=v6e"),
    ("run", "--worker=all --command=cd attnjax"),
    ("stop", "pkill -TERM"),
    ("delete", f"delete {slice_.name} --zone=here-1 --quiet"),
  ):
    subprocess.run(["bash", "-c", text, "job.sh", word], check=True, input=b"")
    assert expected in "\n".join(stubs.calls("gcloud"))
  done = subprocess.run(["bash", "-n", "-c", text], check=False)
  assert done.returncode == 0
