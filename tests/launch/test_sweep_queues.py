"""What a queue or a bucket has already: never queued twice, never mixed up."""

import os
import shutil
import subprocess
import time

import pytest
from absl import flags
from slurm_cluster import Cluster

from launch.command_line import define
from launch.job import Job
from launch.sweep import __main__ as sweep
from launch.sweep import queues
from launch.sweep.points import axes_of, mark_finished, points_of

# Buckets that are folders. Says and returns what Google Cloud SDK 528 does:
# a prefix is there as long as there is something under it.
GCLOUD = """
cd {folder}
at() {{ local path="${{1#gs://}}"; echo "${{path%/}}"; }}
has() {{ [ -n "$(find "$1" -type f 2> /dev/null)" ]; }}
no() {{ echo "ERROR: (gcloud.storage.$1) $2" >&2; exit 1; }}
url="$3"
for word in "$@"; do case "$word" in gs://*) url="$word" ;; esac; done
path=$(at "$url")
[ -d "${{path%%/*}}" ] || no "$2" "gs://${{path%%/*}} not found: 404."
case "$2" in
  cp) mkdir -p "$(dirname "$path")" && cat > "$path" ;;
  rm) rm "$path" ;;
  ls) has "$path" || no ls "One or more URLs matched no objects." ;;
  rsync)
    has "$path" || no rsync "Did not find existing container at: $url"
    [ "$4" = --delete-unmatched-destination-objects ] && rm -rf "$6"/*
    cp -r "$path"/. "$6" ;;
esac
"""

# A queue of managed jobs in a file, which is not there before the first one.
SKY = """
cd {folder}
if [ "$2" = queue ]; then
  [ -e broken ] && echo "ConnectionError: no server" >&2 && exit 1
  [ -e jobs ] || {{
    echo "sky.exceptions.ClusterNotUpError: No in-progress managed jobs." >&2
    exit 1
  }}
  echo "[$(sed 's/.*/{{"job_id": 1, "job_name": "&"}}/' jobs | paste -sd,)]"
else
  for word in "$@"; do
    case "$word" in --name=*) echo "${{word#--name=}}" >> jobs ;; esac
  done
fi
"""


def swept(*argv, place, topology="cpu:1", text="seeds=2,3"):
  """Runs the program of a sweep."""
  values = flags.FlagValues()
  define(values)
  sweep.define_own(values)
  values(["x", f"--sweep={text}", f"--workdir={place}", *argv])
  job = Job("heads", topology=topology, place=str(place))
  return sweep.program(job, values)


@pytest.fixture
def cloud(tmp_path, stubs, monkeypatch):
  """A bucket, a queue, and what submits to them."""
  (tmp_path / "buckets" / "mine").mkdir(parents=True)
  stubs.add("gcloud", GCLOUD.format(folder=tmp_path / "buckets"))
  stubs.add("sky", SKY.format(folder=tmp_path))
  for module in (sweep, queues):
    monkeypatch.setattr(module, "ROOT", tmp_path)

  def submit(place, **keywords):
    keywords = {"topology": "h100:1"} | keywords
    return swept("--on=sky", "--submit", place=place, **keywords)

  return submit


def launches(stubs):
  """The managed jobs that were launched."""
  return [call for call in stubs.calls("sky") if call.startswith("jobs launch")]


def finish(folder, place):
  """Both points, as jobs leave them in a bucket."""
  job = Job("heads", topology="h100:1", place=place)
  for point in points_of(job, axes_of("seeds=2,3")):
    mark_finished(folder, point)
    (folder / point.name).mkdir()
    (folder / point.name / "result.json").write_text('{"loss": 0.25}')


def test_another_place_is_another_sweep(tmp_path, cloud, stubs, capsys):
  mine = tmp_path / "buckets" / "mine"
  finish(mine / "a", "gs://mine/a")
  assert cloud("gs://mine/a") == 0
  out, err = capsys.readouterr()
  assert "2 points, 0 left" in err
  assert out.count("0.25") == 2
  # Nothing is there yet, which is where every sweep begins.
  assert cloud("gs://mine/b/") == 0
  assert "2 points, 2 left" in capsys.readouterr().err
  assert len(launches(stubs)) == 2
  # What is taken out of a bucket is not remembered either.
  shutil.rmtree(mine / "a" / "finished")
  assert cloud("gs://mine/a") == 0
  assert "2 points, 2 left" in capsys.readouterr().err
  shutil.rmtree(mine / "a")
  with pytest.raises(ValueError, match="no point is done yet; see 'sky jobs"):
    swept("--on=sky", "--collect", place="gs://mine/a", topology="h100:1")


def test_a_bucket_that_is_not_there_is_no_empty_one(cloud, stubs):
  with pytest.raises(ValueError, match="gs://yours not found: 404"):
    cloud("gs://yours/a")
  stubs.add("gcloud", "echo 'run: gcloud auth login' >&2; exit 1")
  with pytest.raises(ValueError, match="gcloud auth login; log in"):
    cloud("gs://mine/a")
  assert not launches(stubs)


def test_managed_jobs_that_are_queued_are_not_queued_again(
  tmp_path, cloud, stubs, capsys
):
  assert cloud("gs://mine/a") == 0
  first, second = (tmp_path / "jobs").read_text().split()
  assert cloud("gs://mine/a") == 0
  err = capsys.readouterr().err
  assert f"seeds=2: still queued as {first}" in err
  assert f"seeds=3: still queued as {second}" in err
  assert len(launches(stubs)) == 2
  (tmp_path / "jobs").write_text(second + "\n")  # the first has failed
  assert cloud("gs://mine/a", text="seeds=2,3,5") == 0
  assert len(launches(stubs)) == 4
  assert first in launches(stubs)[2]
  (tmp_path / "broken").touch()
  with pytest.raises(ValueError, match=r"asked which points .* no server; see"):
    cloud("gs://mine/a")
  stubs.add("sky", "echo 'no JSON'")
  with pytest.raises(ValueError, match="asked which points"):
    cloud("gs://mine/a")
  assert len(launches(stubs)) == 4


def test_tasks_that_are_queued_are_not_queued_again(tmp_path, stubs, capsys):
  stubs.add("sbatch", "echo 17")
  stubs.add("squeue", f"cat {tmp_path}/tasks")
  command = ("--on=slurm", "--submit")
  place = tmp_path / "sweep"
  assert swept(*command, place=place) == 0
  assert stubs.calls("squeue") == []  # nothing was queued before
  (tmp_path / "tasks").write_text("17_0\n17_1\n")
  assert swept(*command, place=place) == 0
  assert "seeds=3: still queued as 17_1" in capsys.readouterr().err
  assert len(stubs.calls("sbatch")) == 1
  assert stubs.calls("squeue")[0].endswith("--jobs=17")
  # One has ended, and one is new: they are the tasks of another array.
  (tmp_path / "tasks").write_text("17_1\n")
  stubs.add("sbatch", "echo '18;far'")
  assert swept(*command, place=place, text="seeds=5,3,2") == 0
  assert "#SBATCH --array=0-1%" in (place / "sweep.sbatch").read_text()
  assert (place / "queued" / "seeds=2").read_text() == "18_1;far\n"
  # Of two clusters each is asked about its own.
  stubs.add("squeue", 'case "$*" in *far*) echo 18_1 ;; *) echo 17_1 ;; esac')
  assert swept(*command, place=place, text="seeds=2,3") == 0
  assert len(stubs.calls("sbatch")) == 2
  # Nor does this machine run what a cluster has.
  assert_run_here(place, capsys)


def assert_run_here(place, capsys):
  """That a sweep without `--on` leaves queued points alone."""
  with pytest.raises(ValueError, match="no point is done yet"):
    swept(place=place, text="seeds=2,3")
  assert "seeds=2: still queued as 18_1;far" in capsys.readouterr().err
  assert not list((place / "logs").iterdir())


def test_nothing_is_queued_where_the_queue_does_not_answer(tmp_path, stubs):
  stubs.add("sbatch", "echo 17")
  command, place = ("--on=slurm", "--submit"), tmp_path / "sweep"
  assert swept(*command, place=place) == 0
  stubs.add("squeue", "echo 'error: Unable to contact controller' >&2; exit 1")
  with pytest.raises(ValueError, match="Unable to contact controller; come"):
    swept(*command, place=place)
  assert len(stubs.calls("sbatch")) == 1
  # A job that ended long ago is not known any more, which is an answer.
  gone = "slurm_load_jobs error: Invalid job id specified"
  stubs.add("squeue", f"echo '{gone}' >&2; exit 1")
  assert swept(*command, place=place) == 0
  assert len(stubs.calls("sbatch")) == 2
  stubs.add("sbatch", "exit 3")
  assert swept(*command, place=place) == 3


@pytest.mark.parametrize("option", ["--wait", "--array=0-3", "-a 0-3"])
def test_the_array_is_the_sweeps_own_affair(tmp_path, stubs, option):
  stubs.add("sbatch", "echo 17")
  with pytest.raises(ValueError, match=f"sbatch: .*got '{option}'"):
    swept("--on=slurm", "--submit", f"--sbatch={option}", place=tmp_path)
  assert stubs.calls("sbatch") == []


@pytest.mark.slow
@pytest.mark.skipif(
  not shutil.which("slurmctld") or os.geteuid() != 0,
  reason="needs root, and apt-get install slurm-wlm munge",
)
def test_a_real_queue_knows_its_tasks(tmp_path, monkeypatch, capsys):
  place = tmp_path / "sweep"
  command = ("--on=slurm", "--submit", "--sbatch=--hold")
  with Cluster(tmp_path / "cluster") as cluster:
    monkeypatch.setenv("SLURM_CONF", str(cluster.conf))
    assert swept(*command, place=place) == 0, cluster.logs()
    assert swept(*command, place=place) == 0
    assert capsys.readouterr().err.count("still queued as") == 2
    task = (place / "queued" / "seeds=2").read_text().strip()
    subprocess.run(["scancel", task], check=True)
    time.sleep(2)
    assert swept(*command, place=place) == 0
    err = capsys.readouterr().err
    assert err.count("still queued as") == 1
    assert "seeds=3: still queued as" in err
    for name in ("seeds=2", "seeds=3"):  # of a job that was never there
      (place / "queued" / name).write_text("4000_0\n")
    assert swept(*command, place=place) == 0
    assert "still queued" not in capsys.readouterr().err
    subprocess.run(["scancel", "--user=root"], check=True)
