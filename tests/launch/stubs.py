"""Programs that only note how they were called, first on the path."""

import os
import stat


class Stubs:
  """A folder of programs for tests, and what they were called with."""

  def __init__(self, folder, monkeypatch):
    self.folder = folder
    folder.mkdir()
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    monkeypatch.setenv("PATH", path)

  def add(self, name, body="exit 0"):
    """A program; its arguments are noted before the body runs."""
    path = self.folder / name
    log = self.folder / f"{name}.log"
    path.write_text(f'#!/bin/bash\necho "$@" >> {log}\n{body}\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)

  def calls(self, name):
    """The arguments of each call, as a line."""
    log = self.folder / f"{name}.log"
    return log.read_text().splitlines() if log.exists() else []
