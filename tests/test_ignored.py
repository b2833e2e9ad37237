"""No module is left out of the repository, and so out of the wheel."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.skipif(
  not (ROOT / ".git").exists() or shutil.which("git") is None,
  reason="what git ignores is known in a clone",
)
def test_gitignore_matches_no_module():
  """`runs/` did match attnjax/runs: its front file was never committed."""
  folders = ("attnjax", "docs", "experiments", "launch", "tests")
  found = subprocess.run(
    ["git", "check-ignore", "--no-index", "--stdin"],
    input="\n".join(
      str(path.relative_to(ROOT))
      for folder in folders
      for path in (ROOT / folder).rglob("*.py")
    ),
    cwd=ROOT,
    capture_output=True,
    text=True,
    timeout=60,
  )
  assert not found.stdout, found.stdout
