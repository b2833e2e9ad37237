"""Paths mean where the command was typed, wherever the job runs."""

import glob
import importlib
import os
import shlex

import pytest

from attnjax.config import leaves
from launch.job import ROOT, Job, config_of, experiments, presets_of
from launch.local import __main__ as local
from launch.paths import with_absolute_paths, with_mounted_paths
from launch.place import check_bucket_has
from launch.sweep import queues

LM = "--experiment=language_model"
CPU = (LM, "--topology=cpu:1")
GPU = (LM, "--topology=h100:8", "--config.train.mesh.data=0")
TPU = (LM, "--topology=v5e:2x2", "--config.train.mesh.data=0")
RENTED = {
  "tpu_pod": (*TPU, "--zone=us-west4-a"),
  "gke": (*TPU, "--image=i:1"),
  "xpk": (*TPU, "--image=i:1", "--xpk=mine"),
  "sky": GPU,
  "sweep": (*GPU, "--on=sky", "--sweep=seed=0,1"),
}


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
  """A working directory with texts, which has a name that is a pattern."""
  here = tmp_path / "texts [1]"
  here.mkdir()
  for name in ("a.txt", "b.txt"):
    (here / name).write_text(f"{name}: the cat sat on the mat\n" * 200)
  monkeypatch.chdir(here)
  return here


@pytest.fixture
def ran(monkeypatch):
  """The lines that would have been run on this machine."""
  lines = []
  note = lambda line, *_: lines.append(list(line)) or 0
  monkeypatch.setattr(local, "run_together", note)
  monkeypatch.setattr(queues, "run_together", note)
  return lines


def words_of(place, ran, launcher, *argv):
  """The words of the line that a launcher runs, or shows."""
  code, out, err = launcher(place, *argv)
  if ran:
    return ran[0]
  assert code == 0, err
  text = out.partition("line=(")[2].partition(")\n")[0] or out
  return shlex.split(text)


SWEEP = "--sweep=seed=0"


@pytest.mark.parametrize(
  ("place", "argv"),
  [
    ("local", ()),
    ("local", ("--processes=1",)),
    ("slurm", ()),
    ("openmpi", ()),
    ("sweep", (SWEEP,)),
    ("sweep", (SWEEP, "--on=slurm")),
  ],
)
def test_paths_are_those_of_the_caller(
  elsewhere, ran, launcher, monkeypatch, place, argv
):
  flags = ("--workdir=out", "--config.data.path=*.txt")
  words = words_of(place, ran, launcher, *CPU, *argv, *flags)
  [path] = [w for w in words if w.startswith("--config.data.path=")]
  [workdir] = [w for w in words if w.startswith("--workdir=")]
  where = workdir.removeprefix("--workdir=")
  assert where.startswith(f"{elsewhere}{os.sep}out")
  # Seen from anywhere: the checkout has a constraints.txt.
  monkeypatch.chdir(ROOT)
  found = sorted(glob.glob(path.removeprefix("--config.data.path=")))
  assert found == [f"{elsewhere}/a.txt", f"{elsewhere}/b.txt"]


def test_a_place_that_nobody_named_is_the_callers_too(elsewhere, ran, launcher):
  words = words_of("local", ran, launcher, *CPU)
  assert words[-1] == f"--workdir={elsewhere}/runs/language_model/tiny"


@pytest.mark.parametrize(
  ("typed", "meant"),
  [
    ("a.txt", "{here}/a.txt"),
    (".", "{here}"),
    ("../texts [1]/a.txt", "{here}/../texts [1]/a.txt"),
    ("{here}/a.txt", "{here}/a.txt"),
    ("~/a.txt", "{home}/a.txt"),
  ],
)
def test_a_path_is_read_as_it_was_typed(elsewhere, monkeypatch, typed, meant):
  monkeypatch.setenv("HOME", str(elsewhere.parent))
  (elsewhere.parent / "a.txt").write_text("at home")
  names = {"here": elsewhere, "home": elsewhere.parent}
  override = f"data.path={typed.format(**names)}"
  job = with_absolute_paths(Job("language_model", overrides=(override,)), "all")
  found = config_of(job).data.path
  assert found == str(meant).format(**names)


def test_every_path_of_every_experiment_is_known_as_one():
  words = (" file", " directory", " glob", " folder")
  for experiment in experiments():
    for preset in presets_of(experiment).values():
      for leaf in leaves(preset()):
        text = f" {leaf.help}"
        named = str in (leaf.kind, leaf.item) and any(w in text for w in words)
        assert leaf.path == (named and leaf.choices is None), leaf.name


def test_another_path_of_another_experiment(elsewhere):
  job = Job("pronunciation", overrides=("data.dictionary=a.txt", "seeds=1"))
  found = config_of(with_absolute_paths(job, "all")).data
  assert found.dictionary == f"{elsewhere}/a.txt"
  job = Job("pronunciation", overrides=("data.dictionary=absent",))
  with pytest.raises(ValueError, match=r"data\.dictionary must be a file, got"):
    with_absolute_paths(job, "all")


@pytest.mark.parametrize("place", RENTED)
@pytest.mark.parametrize("path", ["*.txt", "{here}/a.txt", "gs://other/x"])
def test_a_rented_machine_does_not_see_files_of_this_one(
  elsewhere, launcher, place, path
):
  path = path.format(here=elsewhere)
  argv = (*RENTED[place], f"--config.data.path={path}", "--workdir=gs://mine/x")
  where = "gke" if place == "xpk" else place
  code, out, err = launcher(where, *argv)
  assert (code, out) == (1, "")
  assert "data.path: a rented machine does not see the files of this one" in err
  assert f"got {path!r}; copy them to the bucket" in err
  assert "--config.data.path=gs://mine/" in err


@pytest.mark.parametrize("place", RENTED)
@pytest.mark.parametrize("path", ["gs://mine/texts/*", "/checkpoints/texts/*"])
def test_what_is_in_the_bucket_is_seen_where_it_is_mounted(
  launcher, place, path
):
  argv = (*RENTED[place], f"--config.data.path={path}", "--workdir=gs://mine/x")
  code, out, err = launcher("gke" if place == "xpk" else place, *argv)
  assert code == 0, err
  assert "--config.data.path=/checkpoints/texts/*" in out


@pytest.mark.parametrize("path", ["gs://mine/../x", "/checkpoints/../etc"])
def test_no_path_leads_out_of_the_bucket(path):
  job = Job("language_model", overrides=(f"data.path={path}",))
  with pytest.raises(ValueError, match=r"data\.path: a rented machine"):
    with_mounted_paths(Job(**{**vars(job), "place": "gs://mine/x"}))


def test_a_directory_is_no_address_here(launcher):
  flags = ("--config.data.path=s3://mine/x", "--workdir=/tmp/x")
  code, out, err = launcher("slurm", *CPU, *flags)
  assert (code, out) == (1, "")
  assert "data.path must be a directory of a mounted file system" in err


def test_flags_of_a_file_are_of_both_kinds(elsewhere, ran, launcher):
  (elsewhere / "flags").write_text(
    f"{LM}\n--topology=cpu:1\n--config.data.path=b.txt\n--workdir=out\n"
  )
  words = words_of("local", ran, launcher, "--flagfile=flags")
  assert f"--config.data.path={elsewhere}/b.txt" in words


# A bucket with one text; `ls` of all else fails as that of gcloud does.
BUCKET = """case "$*" in
  *" ls gs://mine/texts/"*) echo found ;;
  *" ls "*) echo "ERROR: One or more URLs matched no objects." >&2; exit 1 ;;
  *) cat > /dev/null ;;
esac"""


@pytest.mark.parametrize("place", ["tpu_pod", "gke", "sky", "sweep"])
def test_texts_that_are_not_in_the_bucket_are_missed_before_it_costs(
  tmp_path, monkeypatch, stubs, launcher, place
):
  module = importlib.import_module(f"launch.{place}.__main__")
  monkeypatch.setattr(module, "ROOT", tmp_path)
  stubs.add("gcloud", BUCKET)
  queues_them = {"tpu_pod": "bash", "gke": "kubectl"}.get(place, "sky")
  stubs.add(queues_them, "echo '[]'")
  for path, code in (("gs://mine/absent", 1), ("gs://mine/texts/*.txt", 0)):
    argv = (*RENTED[place], "--workdir=gs://mine/x", "--submit")
    found, _, err = launcher(place, *argv, f"--config.data.path={path}")
    assert found == code, err
    assert ("expected files at gs://mine/absent" in err) == (code == 1)
    queued = [x for x in stubs.calls(queues_them) if "queue" not in x]
    assert bool(queued) == (code == 0)


def test_texts_of_aws_are_looked_for_too(stubs):
  stubs.add("aws", 'case "$*" in *absent*) exit 1 ;; *) echo found ;; esac')
  check_bucket_has("data.path", "s3://mine/texts/*.txt")
  assert stubs.calls("aws") == ["s3 ls s3://mine/texts/"]
  with pytest.raises(ValueError, match="and there are none; copy them"):
    check_bucket_has("data.path", "s3://mine/absent")
