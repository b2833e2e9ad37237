"""A directory has one run at a time."""

import subprocess
import sys

import pytest

from attnjax.training.workdir import workdir_lock
from tests.children import environment

HOLDING = """
import sys, time
from pathlib import Path
from attnjax.training.workdir import workdir_lock
with workdir_lock(Path(sys.argv[1])):
  print("held", flush=True)
  time.sleep(300)
"""


def test_a_second_process_is_refused_until_the_first_has_ended(tmp_path):
  command = [sys.executable, "-c", HOLDING, str(tmp_path)]
  first = subprocess.Popen(
    command, env=environment(), stdout=subprocess.PIPE, text=True
  )
  try:
    assert first.stdout.readline() == "held\n"
    words = rf"workdir: process {first.pid} on \S+ is training in .*; wait for"
    with pytest.raises(ValueError, match=words), workdir_lock(tmp_path):
      pass
  finally:
    first.kill()
    first.communicate()
  with workdir_lock(tmp_path):
    pass
  with workdir_lock(tmp_path):  # it was let go
    pass
