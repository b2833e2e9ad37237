"""All is checked before anything is queued, wherever that would be."""

import pytest

LM = ("--experiment=language_model", "--config.train.mesh.data=0")
CPU, GPU = (*LM, "--topology=cpu:1"), (*LM, "--topology=h100:8")
TPU = (*LM, "--topology=v5e:2x2")
BUCKET = "--workdir=gs://mine/x"

# Of each launcher its flags, and the program by which it would queue.
PLACES = {
  "local": (CPU, None),
  "slurm": ((*CPU, "--submit"), "sbatch"),
  "openmpi": ((*CPU, "--submit"), "mpirun"),
  "tpu_pod": ((*TPU, "--zone=us-west4-a", BUCKET, "--submit"), "gcloud"),
  "gke": ((*TPU, "--image=i:1", BUCKET, "--submit"), "kubectl"),
  "xpk": ((*TPU, "--image=i:1", "--xpk=mine", BUCKET), None),
  "sky": ((*GPU, BUCKET, "--submit"), "sky"),
  "sweep": ((*CPU, "--sweep=sample.tokens=3"), None),
  "sweep on slurm": (
    (*CPU, "--sweep=sample.tokens=3", "--on=slurm", "--submit"),
    "sbatch",
  ),
  "sweep on sky": (
    (*GPU, "--sweep=sample.tokens=3", "--on=sky", BUCKET, "--submit"),
    "sky",
  ),
}

WRONG = {
  "data.length": ("0", "-3"),
  "data.batch_size": ("0",),
  "data.heldout_fraction": ("2", "nan"),
  "data.seed": ("-1", str(2**64)),
  "data.vocabulary": ("5",),
  "optimizer.peak_learning_rate": ("inf", "nan", "-1"),
  "optimizer.weight_decay": ("nan",),
  "seed": (str(2**70),),
  "sample.seed": ("-1", str(2**70)),
  "sample.temperature": ("inf",),
  "train.steps": ("-1",),
}


@pytest.fixture
def here(tmp_path, monkeypatch, stubs):
  """An empty directory, and programs that queue whatever they are given."""
  monkeypatch.chdir(tmp_path)
  for program in ("sbatch", "mpirun", "gcloud", "kubectl", "sky"):
    stubs.add(program)
  return tmp_path


def assert_refused(launcher, stubs, place, *argv):
  """That nothing is queued; returns the one line that says why."""
  flags, program = PLACES[place]
  module = {"xpk": "gke"}.get(place, place.split()[0])
  code, out, err = launcher(module, *flags, *argv)
  assert (code, out) == (1, ""), err
  assert program is None or stubs.calls(program) == []
  [line] = [text for text in err.splitlines() if text.startswith("error: ")]
  return line


@pytest.mark.parametrize("place", PLACES)
def test_a_setting_out_of_its_range_is_not_queued(here, stubs, launcher, place):
  for name, values in WRONG.items():
    for value in values:
      line = assert_refused(
        launcher,
        stubs,
        place,
        "--config.data.tokenizer=bpe",
        f"--config.{name}={value}",
      )
      assert name.rsplit(".", 1)[-1] in line, line
  assert not (here / "runs").exists()


SHARED = [place for place in PLACES if BUCKET not in PLACES[place][0]]


@pytest.mark.parametrize("place", SHARED)
def test_a_text_that_is_not_there_is_not_queued(here, stubs, launcher, place):
  (here / "empty.txt").touch()
  for path in ("absent.txt", "*.md", "empty.txt", "absent/"):
    line = assert_refused(launcher, stubs, place, f"--config.data.path={path}")
    assert "data.path" in line
  assert not (here / "runs").exists()


@pytest.mark.parametrize("place", SHARED)
def test_a_sweep_of_a_wrong_value_and_a_right_one_queues_none(
  here, stubs, launcher, place
):
  if not place.startswith("sweep"):
    return
  assert "batch_size" in assert_refused(
    launcher, stubs, place, "--sweep=data.batch_size=8,0"
  )
