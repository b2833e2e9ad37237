"""The README keeps its word: its lines run, its commands exist."""

import pathlib
import re
import tomllib

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


def test_its_numbers_stand_on_the_pages_that_it_links_to():
  rows = re.findall(r"^\| .*\*\*.* \|$", README, re.MULTILINE)
  assert len(rows) >= 8
  for row in rows:
    (page,) = re.findall(r"\]\(([^)]+)\)", row)
    text = (ROOT / page).read_text(encoding="utf-8")
    for number in re.findall(r"\*\*([^*]+)\*\*", row):
      whole = rf"(?<![\d.,]){re.escape(number)}(?![\d]|[.,]\d)"
      assert re.search(whole, text), f"{page} does not say {number}"


def test_a_visitor_reads_it_in_two_minutes():
  assert len(README.splitlines()) <= 90


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
  build = {"hatchling", "hatch-fancy-pypi-readme"}
  assert {n.lower() for n in named} - build <= pinned


def test_the_page_of_a_package_index_has_no_link_that_leads_nowhere():
  project = tomllib.loads((ROOT / "pyproject.toml").read_text())
  page = project["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]
  assert [part["path"] for part in page["fragments"]] == ["README.md"]
  text = README
  for change in page["substitutions"]:
    text = re.sub(change["pattern"], change["replacement"], text)
  assert "](experiments/" in README  # there was something to do
  assert "<img" in README
  for target in re.findall(r"(?:\]\(|src=\"|href=\")([^)\"]+)", text):
    assert target.startswith(("http://", "https://", "#")), target
  assert "**Train**" in text
  assert "each column says" not in text  # of a picture that is not there


def test_it_says_what_needs_the_clone():
  words = " ".join(README.split())
  assert "`experiments` and `launch` are programs of the clone" in words
  wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())
  target = wheel["tool"]["hatch"]["build"]["targets"]["wheel"]
  assert target["packages"] == ["attnjax"]
