"""Text that a shell, YAML, Kubernetes or sbatch would read as its own.

Every template is filled with it and run by the shell it is for, with programs
that only note their arguments: what was typed has to arrive, to the letter.
"""

import dataclasses
import re
import shlex
import subprocess
import time

import pytest
import yaml

from launch.gke.manifest import manifest, xpk_line
from launch.job import Job
from launch.openmpi import command as openmpi
from launch.place import mounted
from launch.process_layout import process_layout
from launch.quoting import for_kubernetes, sbatch_line
from launch.sky.task import task
from launch.slurm import script as slurm
from launch.tpu_pod import script as tpu_pod

TEXTS = [
  "a b",
  " ",
  "",
  "$(touch pwned)",
  "`touch pwned`",
  ";touch${IFS}pwned;true",
  "'; touch pwned; '",
  '"; touch pwned; "',
  "&& touch pwned #",
  "| touch pwned",
  "> pwned",
  "$HOME ${HOME} $(HOME) $$ $$$ $$(HOME) $",
  "*",
  "~",
  "!!",
  "{root} {} {{x}}",
  "%j %% %",
  "\\ \\n \\' \\\"",
  "--flag -x",
  "- a: [b, {c: d}] # e",
  "é 漢字 \N{PILE OF POO}",
]
LINES = ["a\nb", "a\ntouch pwned\n", "EOF\n)", "\ttab\r\n", "a\u2028b"]
FOLDERS = [text for text in TEXTS if text and not {*"*[#/"} & {*text}]

OPTIONS = ("train.mesh.data=0", "data.batch_size=384")
TPU = Job("language_model", "base", OPTIONS, "v5e:4x4", place="gs://mine/x")
GPU = dataclasses.replace(TPU, topology="h100:8")


def saying(texts, **changes):
  """A job with a setting that is given again and again."""
  given = tuple(f"sample.prompt={text}" for text in texts)
  return dataclasses.replace(GPU, overrides=(*OPTIONS, *given), **changes)


NOTE = "printf '%s\\0' \"$@\" > {path}.part && mv {path}.part {path}"


@pytest.fixture
def arrived(tmp_path, stubs, monkeypatch):
  """Runs a text by bash in an empty folder; what a program was called with."""
  place = tmp_path / "place"
  (place / "attnjax" / ".venv" / "bin").mkdir(parents=True)
  monkeypatch.setenv("HOME", str(place))

  def call(text, program, *arguments, cwd="."):
    note = tmp_path / "note"
    note.unlink(missing_ok=True)
    stubs.add(program, NOTE.format(path=note))
    done = subprocess.run(
      ["bash", "-c", text, "job.sh", *arguments],
      cwd=place / cwd,
      capture_output=True,
      text=True,
      check=False,
    )
    deadline = time.monotonic() + 20
    while not note.exists():  # of what was left in the background
      assert time.monotonic() < deadline, done.stderr
      time.sleep(0.01)
    assert not list(tmp_path.rglob("pwned*")), text
    return note.read_bytes().decode().split("\0")[:-1]

  call.place = place
  return call


def expanded(words):
  """As a container gets a command: Kubernetes' expansion of `$(NAME)`."""
  known = {"HOME": "/root", "HOSTNAME": "pod"}

  def one(found):
    name = found["name"]
    return "$" if name is None else known.get(name, found[0])

  return [
    re.sub(r"\$(?:\$|\((?P<name>[^)]*)\))", one, w, flags=re.DOTALL)
    for w in words
  ]


def of_slurm(job, arrived):
  layout = process_layout(job, process_a_gpu=True)
  job = dataclasses.replace(job, place=str(arrived.place))
  return job, arrived(slurm.script(job, layout), "srun")[1:]


def of_array(job, arrived):
  layout = process_layout(job, process_a_gpu=True)
  job = dataclasses.replace(job, place=str(arrived.place / "point"))
  text = slurm.array_script([job], layout, arrived.place)
  words = arrived(f"SLURM_ARRAY_TASK_ID=0\n{text}", "srun")[1:]
  finished = (arrived.place / "finished" / "point").read_bytes().decode()
  assert finished == shlex.join(job.asked()) + "\n"
  return job, words


def of_openmpi(job, arrived):
  layout = process_layout(job, process_a_gpu=True)
  job = dataclasses.replace(job, place=str(arrived.place))
  words = arrived(shlex.join(openmpi.command(job, layout)), "mpirun")
  return job, words[words.index("-m") - 1 :]


def of_tpu_pod(job, arrived):
  job = dataclasses.replace(job, topology="v5e:4x4")
  python = arrived.place / "attnjax" / ".venv" / "bin" / "python"
  python.touch(mode=0o755)
  host = 'mountpoint() { true; }; export -f mountpoint; cd "$HOME"; '
  host += 'gcloud() { c="${@: -1}"; bash -c "${c#--command=}"; }; '
  text = tpu_pod.script(job, process_layout(job), zone="us-west4-a")
  return job, arrived(host + text, "nohup", "run")


def of_sky(job, arrived, finished=None):
  found = yaml.safe_load(task(job, process_layout(job), finished=finished))
  text = f'.venv/bin/python() {{ noted "$@"; }}\n{found["run"]}'
  return job, ["", *arrived(text, "noted")]


def of_gke(job, arrived):
  text = yaml.safe_load(manifest(job, process_layout(job), "i:1"))
  [one] = text["spec"]["replicatedJobs"]
  pod = one["template"]["spec"]["template"]["spec"]
  return job, expanded(pod["containers"][0]["command"])


def of_xpk(job, arrived):
  job = dataclasses.replace(job, topology="v5e:4x4")
  words = arrived(xpk_line(job, process_layout(job), "i:1", "mine"), "xpk")
  command = words[-1].removeprefix("--command=")
  # As docker_container.py of xpk writes it into YAML.
  whole = (
    f"command:\n- bash\n- -c\n- |\n  ({command}) & PID=$!;\n  wait $PID;\n"
  )
  [_, _, text] = expanded(yaml.safe_load(whole)["command"])
  return job, ["", *arrived(text, "python")]


PLACES = {
  "slurm": of_slurm,
  "array": of_array,
  "openmpi": of_openmpi,
  "tpu_pod": of_tpu_pod,
  "sky": of_sky,
  "gke": of_gke,
  "xpk": of_xpk,
}


def assert_all_arrives(place, job, arrived):
  """That a place runs the line of a job, whatever is in it."""
  job, words = PLACES[place](job, arrived)
  bucket = place in ("tpu_pod", "sky", "gke", "xpk")
  where = mounted(job.directory) if bucket else job.directory
  assert words[1:] == list(job.line("", where))[1:]


@pytest.mark.parametrize("place", PLACES)
def test_settings_arrive_to_the_letter(place, arrived):
  texts = TEXTS if place == "xpk" else TEXTS + LINES
  assert_all_arrives(place, saying(texts), arrived)


@pytest.mark.parametrize("place", ["tpu_pod", "sky", "gke", "xpk"])
def test_folders_of_a_bucket_arrive_to_the_letter(place, arrived):
  job = dataclasses.replace(GPU, place=f"gs://mine/{'/'.join(FOLDERS)}")
  assert_all_arrives(place, job, arrived)


@pytest.mark.parametrize("text", LINES)
def test_a_line_that_ends_is_refused_where_yaml_would_break(text):
  job = dataclasses.replace(TPU, overrides=(*OPTIONS, f"sample.prompt={text}"))
  with pytest.raises(ValueError, match=r"xpk: expected one line of text, got"):
    xpk_line(job, process_layout(job), "i:1", "mine")


def test_a_note_that_a_point_is_done_arrives_to_the_letter(arrived):
  job = saying(TEXTS + LINES, place="gs://mine/s/point 1")
  found = yaml.safe_load(
    task(job, process_layout(job), finished="gs://mine/s/f")
  )
  run = found["run"].replace("/checkpoints/", "checkpoints/")
  arrived(f'.venv/bin/python() {{ noted "$@"; }}\n{run}', "noted")
  note = arrived.place / "checkpoints" / "s" / "f" / "point 1"
  assert note.read_bytes().decode() == shlex.join(job.asked()) + "\n"


@pytest.mark.parametrize(
  "name", ["it's $(touch pwned)", "a;touch pwned;", "{x}"]
)
def test_a_checkout_may_be_called_anything(
  tmp_path, arrived, monkeypatch, name
):
  root = tmp_path / name
  root.mkdir()
  for module in (slurm, openmpi, tpu_pod):
    monkeypatch.setattr(module, "ROOT", root)
  for place in ("slurm", "array", "openmpi"):
    assert_all_arrives(place, GPU, arrived)
  text = tpu_pod.script(TPU, process_layout(TPU), zone="us-west4-a")
  words = arrived("gcloud() { true; }\n" + text, "git", "setup")
  assert words[:2] == ["-C", str(root)]


NAMES = [
  "a;touch pwned",
  "$(touch pwned)",
  "a b",
  "a\nb",
  "A_b",
  "-a",
  "",
  "a'",
]
TAKEN = {
  "tpu_pod": ("--topology=v5e:2x2", "--zone=us-west4-a"),
  "gke": ("--topology=v5e:2x2", "--image=i:1"),
  "sky": ("--topology=h100:4",),
}


@pytest.mark.parametrize(
  ("place", "flag"),
  [
    ("tpu_pod", "zone"),
    ("gke", "image"),
    ("gke", "account"),
    ("gke", "xpk"),
    *((place, "name") for place in TAKEN),
  ],
)
def test_names_keep_the_rule_that_is_published(launcher, place, flag):
  argv = ("--experiment=language_model", "--workdir=gs://mine/x", *TAKEN[place])
  argv += ("--config.train.mesh.data=0",)
  for text in NAMES:
    if (flag, text) == ("name", ""):
      continue  # is none, and one is made
    code, out, err = launcher(place, *argv, f"--{flag}={text}")
    assert (code, out) == (1, "")
    assert err.startswith(f"error: {flag}: expected")


@pytest.mark.parametrize("place", TAKEN)
@pytest.mark.parametrize(
  "address",
  [
    "gs://b;touch${IFS}pwned;true/f",
    "gs://$(touch pwned)/f",
    "gs://-mine/f",
    "gs://Mine/f",
    "gs://mi/f",
    "gs://10.0.0.1/f",
    "gs://" + "m" * 64 + "/f",
    "s3://my_bucket/f",
    "s3://a..b/f",
    "gs://mine/a\nb",
    "gs://mine/a//b",
    "gs://mine/../f",
    "gs://mine/run[1]",
    "gs://mine/run#1",
    "gs://mine/" + "f" * 201,
    "gs://mine/\udc80",
  ],
)
def test_addresses_keep_the_rule_that_is_published(launcher, place, address):
  argv = ("--experiment=language_model", "--config.train.mesh.data=0")
  code, out, err = launcher(place, *argv, *TAKEN[place], f"--workdir={address}")
  assert (code, out) == (1, "")
  assert err.startswith("error: workdir: expected")


def read_by_sbatch(line):
  """The words of a line `#SBATCH`, as src/sbatch/opt.c of SLURM finds them."""
  words, text = [], line.removeprefix("#SBATCH")
  place = 0
  while text[place:].strip():
    while text[place].isspace():
      place += 1
    if text[place] == "#":
      break
    word, quote, escaped = "", "", False
    while place < len(text) and (quote or not text[place].isspace()):
      character = text[place]
      if escaped:
        word, escaped = word + character, False
      elif character == "\\":
        escaped = True
      elif quote and character == quote:
        quote = ""
      elif not quote and character in "\"'":
        quote = character
      elif not quote and character == "#":
        place = len(text)
        break
      else:
        word += character
      place += 1
    assert not quote
    words.append(word)
  return words


@pytest.mark.parametrize("text", [t for t in TEXTS if t.strip(" \"'") == t])
def test_an_option_of_sbatch_arrives_to_the_letter(text):
  assert read_by_sbatch(sbatch_line(f"--comment={text}")) == [
    f"--comment={text}"
  ]


@pytest.mark.parametrize(
  ("option", "words"),
  [
    ("--partition=gpu", ["--partition=gpu"]),
    ("--partition gpu", ["--partition", "gpu"]),
    ("-p gpu", ["-p", "gpu"]),
    ("-t5", ["-t5"]),
    ("--wait", ["--wait"]),
    ("--mail-user=a@b.c", ["--mail-user=a@b.c"]),
    ("-J a b", ["-J", "a b"]),
  ],
)
def test_an_option_is_written_as_it_is_given(option, words):
  assert read_by_sbatch(sbatch_line(option)) == words


@pytest.mark.parametrize(
  ("option", "why"),
  [
    ("--comment=a\ntouch pwned", "expected one line"),
    ("--comment=a\rb", "expected one line"),
    ("-p gpu --time=5", "expected one option"),
    ("partition=gpu", "expected an option"),
    ("", "expected an option"),
    ("--a;b=c", "expected an option"),
    ('--comment="a b"', "without quotes round it"),
  ],
)
@pytest.mark.parametrize("place", ["slurm", "sweep"])
def test_what_is_no_option_of_sbatch_is_refused(launcher, place, option, why):
  argv = ("--experiment=heads", "--topology=cpu:1", f"--sbatch={option}")
  more = ("--on=slurm", "--sweep=seeds=1") if place == "sweep" else ()
  code, out, err = launcher(place, *argv, *more)
  assert (code, out) == (1, "")
  assert f"sbatch: {why}" in err or f"{why}" in err


def test_kubernetes_gives_back_what_was_written():
  for text in TEXTS + LINES:
    assert expanded(for_kubernetes([text])) == [text]
