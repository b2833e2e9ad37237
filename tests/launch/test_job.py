"""One description of a job: checked once, and the same line everywhere."""

import re
import shlex

import pytest
import yaml
from absl import flags

from attnjax.training.cluster import ProcessesConfig, start_arguments
from launch.command_line import define, job_of
from launch.gke.manifest import manifest, xpk_line
from launch.job import Job, config_of, experiments, presets_of
from launch.local.processes import environments
from launch.openmpi.command import command
from launch.process_layout import process_layout
from launch.sky.task import task
from launch.slurm.script import script
from launch.tpu_pod.script import script as pod_script

ROWS = "data.batch_size=384"  # divides among all of the machines below
ALL = ("train.mesh.data=0", "model.depth=3", "sample.prompt=a b", ROWS)
ODD = "data.length=100"
GPUS = Job("language_model", "base", ALL, "h100:16", place="gs://mine/runs/x")
TPUS = Job("language_model", "base", ALL, "v5p:4x4x4", place="gs://mine/runs/x")


def rendered(place, job):
  """The text that a place makes of a job."""
  if place in ("slurm", "openmpi"):
    layout = process_layout(job, process_a_gpu=True)
    if place == "slurm":
      return script(job, layout)
    return shlex.join(command(job, layout))
  layout = process_layout(job)
  if place == "gke":
    text = yaml.safe_load(manifest(job, layout, "image:1"))
    return shlex.join(pod_of(text)["containers"][0]["command"])
  if place == "tpu_pod":
    return shlex.join(shlex.split(pod_script(job, layout, zone="here")))
  if place == "xpk":
    return shlex.split(xpk_line(job, layout, "image:1", "mine"))[-1]
  return yaml.safe_load(task(job, layout))["run"]


def pod_of(jobset):
  """The pod of the one job of a JobSet."""
  [job] = jobset["spec"]["replicatedJobs"]
  return job["template"]["spec"]["template"]["spec"]


@pytest.mark.parametrize(
  ("place", "job"),
  [
    ("slurm", GPUS),
    ("openmpi", GPUS),
    ("gke", GPUS),
    ("gke", TPUS),
    ("sky", GPUS),
    ("sky", TPUS),
    ("xpk", TPUS),
    ("tpu_pod", TPUS),
  ],
)
def test_every_place_runs_the_same_line(place, job):
  text = rendered(place, job)
  line = shlex.join(job.line()).removeprefix("python ")
  line = line.rsplit(" --workdir=", 1)[0]
  if place == "tpu_pod":  # quoted once more, for the shell of each host
    line = line.replace("'", "")
    text = text.replace("'", "").replace('"', "")
  assert line in text
  bucket = place in ("gke", "sky", "xpk", "tpu_pod")
  assert ("--workdir=/checkpoints/runs/x" in text) == bucket


@pytest.mark.parametrize("experiment", experiments())
def test_every_experiment_has_a_line_that_resolves(experiment):
  for preset in presets_of(experiment):
    assert config_of(Job(experiment, preset)) is not None


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"experiment": "langage_model"}, "did you mean language_model"),
    ({"experiment": ""}, "expected a folder of experiments/"),
    ({"preset": "bsae"}, "did you mean base"),
    ({"overrides": ("model.dept=3",)}, "Did you mean: config.model.depth"),
    ({"overrides": ("model.depth=x",)}, "expected an integer"),
    ({"overrides": ("data.batch_size=3", "train.microbatches=2")}, "divide"),
    ({"topology": "v5p:4x4x9"}, "nearest are v5p:4x4x8"),
    ({"topology": "h100:16"}, "data=0 for all that are left"),
    (
      {"topology": "v5e:4x4", "overrides": ("train.mesh.tensor=3",)},
      "other axes that divides 16",
    ),
    ({"topology": "cpu:8", "processes": 3}, "choose --topology=cpu:9"),
    ({"topology": "cpu:8", "processes": 0}, "expected a divisor of the 8"),
    ({"processes": -1}, "add --topology=cpu:1"),
    (
      {"topology": "cpu:3", "overrides": ("train.mesh.data=0",)},
      r"data=3 x mesh.fsdp=1 does not divide its 16 rows",
    ),
    (
      {"topology": "cpu:8", "overrides": ("train.mesh.sequence=8", ODD)},
      r"mesh.sequence=8 does not divide its 100 tokens",
    ),
    (
      {
        "topology": "cpu:8",
        "overrides": ("train.mesh.data=0", "train.microbatches=4"),
      },
      "divides the 2 rows that each of 8 devices has",
    ),
    (
      {"topology": "cpu:3", "overrides": ("train.mesh.tensor=3",)},
      r"mesh.tensor=3 does not divide the 4 of axis",
    ),
    ({"processes": 2}, "add --topology=cpu:2"),
    (
      {"topology": "v5e:4x4", "processes": 3, "overrides": ALL},
      "4 hosts and takes 4 here",
    ),
    (
      {"experiment": "context_cost", "topology": "v5e:4x4"},
      "runs in one process",
    ),
  ],
)
def test_what_cannot_run_is_refused_with_the_remedy(changes, message):
  values = {"experiment": "language_model"} | changes
  with pytest.raises(ValueError, match=message):
    process_layout(Job(**values))


@pytest.mark.parametrize(
  ("topology", "hosts", "by_host", "by_gpu"),
  [
    ("v5e:1x1", 1, 1, 1),
    ("v5p:4x4x4", 16, 16, 16),
    ("tpu7x:4x4x4", 16, 16, 16),
    ("h100:4", 1, 1, 4),
    ("h100:16", 2, 2, 16),
    ("cpu:6", 1, 1, 1),
  ],
)
def test_processes_are_as_the_place_takes_them(
  topology, hosts, by_host, by_gpu
):
  job = Job("language_model", overrides=ALL, topology=topology)
  for each, count in ((False, by_host), (True, by_gpu)):
    layout = process_layout(job, process_a_gpu=each)
    assert (layout.hosts, layout.processes) == (hosts, count)
    assert layout.processes * layout.devices_each == layout.machine.devices


def heard(environment):
  """(coordinator, processes, this one) as a run hears it."""
  found = start_arguments(ProcessesConfig(), environment)
  return found and (
    found["coordinator_address"],
    found["num_processes"],
    found["process_id"],
  )


def test_processes_hear_what_the_launcher_says():
  job = Job("language_model", overrides=ALL, topology="cpu:6", processes=3)
  told = environments(process_layout(job), port=7)
  assert [heard(one) for one in told] == [
    ("127.0.0.1:7", 3, index) for index in range(3)
  ]
  assert "count=2" in told[0]["XLA_FLAGS"]
  alone = Job("language_model", overrides=ALL, topology="cpu:6")
  assert heard(environments(process_layout(alone), port=7)[0]) is None
  # Two hosts of GPUs on Kubernetes, which itself says which of them this is.
  jobset = yaml.safe_load(manifest(GPUS, process_layout(GPUS), "image:1"))
  given = pod_of(jobset)["containers"][0]["env"]
  pod = {one["name"]: one["value"] for one in given}
  first = f"{GPUS.name}-run-0-0.{GPUS.name}:8476"
  assert heard(pod | {"JOB_COMPLETION_INDEX": "1"}) == (first, 2, 1)


def test_jobs_that_write_to_two_places_have_two_names():
  names = {
    Job("language_model", "gpt2_small", place=f"gs://mine/{place}").name
    for place in ("a/x", "b/x", "b/x2")
  }
  assert len(names) == 3
  assert all(re.fullmatch(r"language-model-gpt2-small-\w{6}", n) for n in names)
  assert Job("language_model", place="x", called="mine-2").name == "mine-2"
  values = flags.FlagValues()
  define(values)
  argv = ["x", "--experiment=heads", "--name=Mine"]
  with pytest.raises(
    ValueError, match=r"name: expected small letters, .* 'Mine'"
  ):
    job_of(values, argv)


def test_a_flag_that_says_false_takes_no_value():
  values = flags.FlagValues()
  define(values)
  argv = ["x", "--experiment=heads", "--noconfig.yardsticks=true"]
  with pytest.raises(ValueError, match=r"write --config.yardsticks=true"):
    job_of(values, argv)


def test_overrides_as_they_are_typed():
  argv = ["x", "--experiment=heads", "--config.a=1", "-noconfig.b.c"]
  values = flags.FlagValues()
  define(values)
  job = job_of(values, [*argv, "--config.d", "--processes=2"])
  assert job.overrides == ("a=1", "b.c=false", "d=true")
  assert job.processes == 2
  for wrong, message in (("--presett=x", "preset"), ("loose", "'loose'")):
    values = flags.FlagValues()
    define(values)
    with pytest.raises(ValueError, match=message):
      job_of(values, [*argv, wrong])
