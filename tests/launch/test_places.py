"""Where a job may write: refused before anything is queued, with the remedy."""

import pytest

from launch.job import Job
from launch.place import bucket_of, check_place
from launch.process_layout import process_layout
from launch.slurm.script import array_script, script

JOB = ("--experiment=heads", "--topology=cpu:1")


@pytest.mark.parametrize("place", ["slurm", "openmpi"])
def test_a_bucket_is_no_directory(launcher, place):
  code, out, err = launcher(place, *JOB, "--workdir=gs://mine/x")
  assert (code, out) == (1, "")
  assert "got 'gs://mine/x'; mount the bucket, and name where it is" in err


@pytest.mark.parametrize(
  "place", ["gs://mine/../x", "gs://mine/a/..", "s3://mine/./x"]
)
def test_no_place_leads_out_of_its_bucket(place):
  with pytest.raises(ValueError, match="write where it leads"):
    bucket_of(place)
  assert bucket_of("gs://mine/..a/b..")[1] == "..a/b.."


def test_a_link_that_leads_nowhere_is_no_place(tmp_path, stubs, launcher):
  (tmp_path / "link").symlink_to(tmp_path / "unmounted")
  for place in (tmp_path / "link", tmp_path / "link" / "run"):
    with pytest.raises(ValueError, match=r"a link to .*unmounted"):
      check_place(str(place))
    for name, program in (("slurm", "sbatch"), ("openmpi", "mpirun")):
      stubs.add(program)
      code, _, err = launcher(name, *JOB, f"--workdir={place}", "--submit")
      assert code == 1
      assert "cannot be written" in err
      assert not stubs.calls(program)
  (tmp_path / "unmounted").mkdir()
  check_place(str(tmp_path / "link" / "run"))


def headers(place):
  """What sbatch is told of a job, and of an array of one."""
  job = Job("heads", topology="cpu:1", place=str(place / "run"))
  layout = process_layout(job, process_a_gpu=True)
  texts = script(job, layout), array_script([job], layout, place)
  return [text.split("set -u")[0] for text in texts]


def test_a_log_is_where_its_job_is(tmp_path):
  # sbatch puts the number of the job for %j, and one % for %%.
  alone, array = headers(tmp_path / "100%job")
  assert f'--output="{tmp_path}/100%%job/run/slurm-%j.out"' in alone
  assert f'--output="{tmp_path}/100%%job/slurm-%A_%a.out"' in array


@pytest.mark.parametrize("character", ['"', "\\", "\n"])
def test_what_sbatch_would_misread_is_refused(tmp_path, character):
  with pytest.raises(
    ValueError, match=r"without .* takes for its own"
  ) as error:
    headers(tmp_path / f"a{character}b")
  assert repr(character) in str(error.value)
