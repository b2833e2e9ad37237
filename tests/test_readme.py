"""The README keeps its word: its lines run, its commands and files exist."""

import pathlib
import re

from experiments.language_model.config import PRESETS

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def _blocks(language):
  return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_its_ten_lines_run(capsys):
  (code,) = _blocks("python")
  assert len([line for line in code.splitlines() if line.strip()]) <= 10
  exec(compile(code, "README.md", "exec"), {})
  assert "(2, 128, 8, 64) (2, 8, 128, 128) float32" in capsys.readouterr().out


def test_its_files_exist():
  for target in re.findall(r"(?:\]\(|src=\")([^)#:\"]+)", README):
    assert (ROOT / target).exists(), target


def test_its_two_commands_set_everything_up():
  train, test, *_ = _blocks("bash")
  for command in (train, test):
    assert command.startswith("python3 -m venv .venv && .venv/bin/pip install")
    assert "-c constraints.txt" in command
  assert f"--preset={next(iter(PRESETS))}" in train
  assert test.rstrip().endswith(".venv/bin/pytest")


def test_constraints_pin_what_the_project_asks_for():
  pins = (ROOT / "constraints.txt").read_text()
  project = (ROOT / "pyproject.toml").read_text()
  named = re.findall(r'^\s+"([A-Za-z][\w.-]*)>=', project, re.MULTILINE)
  assert len(named) > 10
  pinned = {
    re.split("[=<>; ]", line)[0].lower().replace("_", "-")
    for line in pins.splitlines()
  }
  build = {"hatchling"}
  assert {n.lower() for n in named} - build <= pinned
