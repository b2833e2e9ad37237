"""The order in which CI runs the slow tests leaves none out."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
ORDER = (ROOT / ".ci" / "slow").read_text(encoding="utf-8").splitlines()
LINES = [line for line in ORDER if not line.startswith("#")]


def test_every_file_with_a_slow_test_is_below_a_path_of_the_order():
  paths = [word for line in LINES for word in line.split()]
  paths = [ROOT / word for word in paths if word.startswith("tests/")]
  for path in sorted((ROOT / "tests").rglob("test_*.py")):
    text = path.read_text(encoding="utf-8")
    some = re.search(r"mark\.slow|slow_but\(|few\(", text)
    if some and path != Path(__file__):
      assert any(path.is_relative_to(other) for other in paths), path


def test_every_path_of_the_order_is_there():
  for line in LINES:
    for word in line.split():
      if "tests/" in word:
        assert (ROOT / word.removeprefix("--ignore=")).exists(), word
