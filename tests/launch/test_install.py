"""A rented machine has a Python that the project takes, or says what it lacks.

The lines are run by bash, among programs that are stand-ins.
"""

import os
import subprocess
import tomllib

import pytest
import yaml

from launch.install import LEAST, install
from launch.job import ROOT, Job
from launch.process_layout import process_layout
from launch.sky.task import task
from launch.tpu_pod.script import script

# A Python of some version: answers the test of it, and makes a `.venv`.
PYTHON = """#!/bin/bash
case "$*" in
  -c*) exec "{real}" -S -c 'import sys
text = sys.argv[1].replace("sys.version_info", "{version}")
text = text.replace("import ensurepip, sys", "import sys")
exec(text)' "$2" ;;
  --version) echo "Python {version}" ;;
  "-m venv .venv")
    mkdir -p .venv/bin
    echo 'echo "{version} $*" >> installed' > .venv/bin/pip
    chmod +x .venv/bin/pip ;;
esac
"""
UV = """#!/bin/bash
[ "$*" = "python install 3.12" ] && touch "$HOME/brought" && exit 0
[ "$*" = "python find 3.12" ] && echo "$HOME/python-of-uv"
"""


@pytest.fixture
def machine(tmp_path):
  """Runs lines on a machine with some Pythons, and perhaps a network."""
  programs = tmp_path / "bin"
  programs.mkdir()
  for name in (
    "bash",
    "sh",
    "env",
    "mkdir",
    "cat",
    "chmod",
    "hostname",
    "touch",
  ):
    found = next(
      folder
      for folder in ("/usr/bin", "/bin")
      if os.path.exists(f"{folder}/{name}")
    )
    (programs / name).symlink_to(f"{found}/{name}")

  def python(path, version):
    real = os.path.realpath(os.sys.executable)
    path.write_text(PYTHON.format(real=real, version=version))
    path.chmod(0o755)

  def call(text, pythons, network=True):
    for name, version in pythons.items():
      python(programs / name, version)
    python(tmp_path / "python-of-uv", (3, 12, 7))
    (tmp_path / "uv").write_text(UV)
    curl = 'mkdir -p "$UV_UNMANAGED_INSTALL"; cat "$HOME/uv" > '
    curl += '"$UV_UNMANAGED_INSTALL/uv"; chmod +x "$UV_UNMANAGED_INSTALL/uv"'
    body = f"echo '{curl}'" if network else "exit 6"
    (programs / "curl").write_text(f"#!/bin/bash\n{body}\n")
    (programs / "curl").chmod(0o755)
    return subprocess.run(
      ["bash", "-c", text],
      cwd=tmp_path,
      env={"PATH": str(programs), "HOME": str(tmp_path)},
      capture_output=True,
      text=True,
      check=False,
    )

  call.place = tmp_path
  return call


@pytest.mark.parametrize("before", ["", "set -e\n"])
@pytest.mark.parametrize(
  ("pythons", "used"),
  [
    ({"python3": (3, 10, 12)}, (3, 12, 7)),
    ({"python3": (3, 8, 10), "python3.11": (3, 11, 4)}, (3, 11, 4)),
    ({"python3": (3, 13, 1)}, (3, 13, 1)),
    ({}, (3, 12, 7)),
  ],
)
def test_a_python_that_is_new_enough_is_found_or_brought(
  machine, before, pythons, used
):
  done = machine(before + install("tpu"), pythons)
  assert done.returncode == 0, done.stderr
  installed = (machine.place / "installed").read_text()
  assert installed.startswith(f"{used} install -q -e .[experiments,tpu] -c")
  assert (machine.place / "brought").exists() == (used not in pythons.values())


@pytest.mark.parametrize("before", ["", "set -e\n"])
def test_without_one_the_machine_says_what_it_lacks(machine, before):
  done = machine(before + install("cuda"), {"python3": (3, 10, 12)}, False)
  assert done.returncode == 1
  assert "expected Python 3.11 or newer with venv, got Python (3, 10, 12)" in (
    done.stderr
  )
  assert not (machine.place / "installed").exists()


def test_every_rented_machine_is_set_up_so():
  options = ("train.mesh.data=0", "data.batch_size=384")
  job = Job("language_model", "base", options, "v5e:4x4", place="gs://mine/x")
  text = script(job, process_layout(job), zone="us-west4-a")
  whole = text.replace(
    "'\"'\"'", "'"
  )  # quoted once more, for the shell of each
  assert install("tpu") in whole
  assert (
    install("tpu") in yaml.safe_load(task(job, process_layout(job)))["setup"]
  )


def test_the_least_version_is_that_of_the_project():
  project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
  assert project["requires-python"] == ">=" + ".".join(map(str, LEAST))
