"""Real schedulers on this machine, and files judged by published schemas."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import yaml
from slurm_cluster import Cluster

from launch.gke.manifest import manifest
from launch.job import ROOT, Job
from launch.layout import layout_of

pytestmark = pytest.mark.slow

# A program that is trained in two processes in seconds: rows over both.
TWO = ("train.mesh.data=0", "train.steps=4", "train.evaluate_every=0")
TWO += ("model.width=16", "model.depth=1", "model.heads=2", "model.hidden=32")
TWO += ("data.length=32", "data.batch_size=4", "sample.tokens=3")
TWO += ("optimizer.warmup_steps=1", "train.log_every=1")


@pytest.fixture
def flags(tmp_path):
  """A small job of two processes on texts of our own."""
  texts = tmp_path / "texts"
  texts.mkdir()
  for index in range(8):
    words = f"The cat {index} sat on the mat of the dog {index + 3}.\n"
    (texts / f"{index}.txt").write_text(words * 20)
  return [
    *("--experiment=language_model", "--topology=cpu:2", "--processes=2"),
    *(f"--config.{text}" for text in TWO),
    "--noconfig.yardsticks",
    f"--config.data.path={texts}",
    f"--workdir={tmp_path / 'run'}",
  ]


def trained(tmp_path):
  """The steps that were logged: each once, by one process."""
  text = (tmp_path / "run" / "metrics.jsonl").read_text()
  records = [json.loads(line) for line in text.splitlines()]
  return [r["step"] for r in records if r["split"] == "train"]


def launched(module, *argv, **keywords):
  """Runs a launcher to its end."""
  environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
  return subprocess.run(
    [sys.executable, "-m", f"launch.{module}", *argv],
    cwd=ROOT,
    env=environment | keywords,
    capture_output=True,
    text=True,
    timeout=900,
    check=False,
  )


@pytest.mark.skipif(
  not shutil.which("slurmctld") or os.geteuid() != 0,
  reason="needs root, and apt-get install slurm-wlm munge",
)
def test_two_processes_of_slurm(tmp_path, flags):
  with Cluster(tmp_path / "cluster") as cluster:
    done = launched(
      "slurm",
      *flags,
      *("--sbatch=--wait", "--sbatch=--export=ALL", "--submit"),
      # The names of the nodes resolve to nothing here.
      JAX_COORDINATOR_ADDRESS="127.0.0.1:29701",
      SLURM_CONF=str(cluster.conf),
    )
    logs = "".join(p.read_text() for p in (tmp_path / "run").glob("*.out"))
    assert done.returncode == 0, done.stderr + logs + cluster.logs()
  assert "process 1 of 2" in logs
  assert trained(tmp_path) == [1, 2, 3, 4]


def judge(program, text, *arguments):
  """Lets a validator, in a Python of its own, say what is wrong."""
  python = os.environ.get("ATTNJAX_VALIDATORS", sys.executable)
  module = program.split()[1].rstrip(",")
  found = subprocess.run([python, "-c", f"import {module}"], check=False)
  if found.returncode:
    pytest.skip(
      f"no {module} here: ATTNJAX_VALIDATORS names a Python that has"
      " jsonschema and kubernetes-validate"
    )
  done = subprocess.run(
    [python, "-c", program, *arguments],
    input=text,
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stdout + done.stderr


MACHINES = ["v5e:4x4", "tpu7x:4x4x4", "h100:16"]


def job(topology):
  """A language model on some machine."""
  all_left = ("train.mesh.data=0",)
  return Job("language_model", "base", all_left, topology, place="gs://m/x")


@pytest.mark.parametrize("topology", MACHINES)
def test_the_job_inside_a_jobset_keeps_the_schema_of_kubernetes(topology):
  found = yaml.safe_load(
    manifest(job(topology), layout_of(job(topology)), "i:1", account="me")
  )
  [inner] = found["spec"]["replicatedJobs"]
  whole = {"apiVersion": "batch/v1", "kind": "Job"} | inner["template"]
  whole["metadata"] = {"name": "run"}
  judge(
    "import kubernetes_validate, sys, yaml;"
    "kubernetes_validate.validate(yaml.safe_load(sys.stdin),"
    " kubernetes_validate.latest_version(), strict=True)",
    yaml.safe_dump(whole),
  )


@pytest.mark.skipif(
  "ATTNJAX_JOBSET_CRD" not in os.environ,
  reason="ATTNJAX_JOBSET_CRD names jobset.x-k8s.io_jobsets.yaml of JobSet",
)
@pytest.mark.parametrize("topology", MACHINES)
def test_a_jobset_keeps_its_published_schema(topology):
  program = (
    "import jsonschema, sys, yaml\n"
    "crd = yaml.load(open(sys.argv[1]), yaml.CSafeLoader)\n"
    "schema = crd['spec']['versions'][0]['schema']['openAPIV3Schema']\n"
    "def close(node):\n"
    "  if isinstance(node, dict):\n"
    "    if 'properties' in node and 'additionalProperties' not in node:\n"
    "      node['additionalProperties'] = False\n"
    "    for child in node.values(): close(child)\n"
    "close(schema)\n"
    "schema['properties']['metadata'] = {'type': 'object'}\n"
    "jsonschema.validate(yaml.safe_load(sys.stdin), schema)\n"
  )
  text = manifest(job(topology), layout_of(job(topology)), "i:1")
  judge(program, text, os.environ["ATTNJAX_JOBSET_CRD"])
