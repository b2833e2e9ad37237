"""The files of launchers, judged by the schemas that others publish."""

import os
import subprocess
import sys

import pytest
import yaml

from launch.gke.manifest import manifest
from launch.job import Job
from launch.process_layout import process_layout
from launch.sky.task import task

pytestmark = pytest.mark.slow


def judge(program, text, *arguments):
  """Lets a validator, in a Python of its own, say what is wrong."""
  python = os.environ.get("ATTNJAX_VALIDATORS", sys.executable)
  module = program.split()[1].rstrip(",")
  found = subprocess.run([python, "-c", f"import {module}"], check=False)
  if found.returncode:
    pytest.skip(
      f"no {module} here: ATTNJAX_VALIDATORS names a Python that has"
      " jsonschema, kubernetes-validate and skypilot"
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
  all_left = ("train.mesh.data=0", "data.batch_size=384")
  return Job(
    "language_model", "base", all_left, topology, place="gs://a-bucket/x"
  )


@pytest.mark.parametrize("topology", MACHINES)
def test_the_job_inside_a_jobset_keeps_the_schema_of_kubernetes(topology):
  found = yaml.safe_load(
    manifest(job(topology), process_layout(job(topology)), "i:1", account="me")
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
  text = manifest(job(topology), process_layout(job(topology)), "i:1")
  judge(program, text, os.environ["ATTNJAX_JOBSET_CRD"])


@pytest.mark.parametrize("topology", ["v5e:4x4", "h100:16"])
def test_a_task_keeps_the_schema_of_skypilot(topology):
  text = task(job(topology), process_layout(job(topology)), spot=True)
  judge(
    "import sky.utils.schemas as s, jsonschema, sys, yaml;"
    "d = yaml.safe_load(sys.stdin);"
    "jsonschema.validate(d, s.get_task_schema());"
    "jsonschema.validate(d['resources'], s.get_resources_schema())",
    text,
  )
