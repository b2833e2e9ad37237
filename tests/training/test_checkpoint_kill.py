"""A run that is killed during a save resumes from a whole step."""

import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from attnjax.training.checkpoint import CheckpointConfig, Checkpoints

# 64 MB in four leaves. Noise: it takes the time that real weights take.
SIZE = 4_000_037
CONFIG = CheckpointConfig(every_steps=1, keep_last=2)


def state_at(step):
  """A state that is a pure function of its step, cheap to make."""
  noise = np.random.default_rng(0).random(SIZE, np.float32)
  return {name: noise + np.float32(step + i) for i, name in enumerate("abcd")}


def child(directory):
  """Resumes and saves step after step until it is killed."""
  with Checkpoints(directory, CONFIG) as checkpoints:
    restored = checkpoints.restore(state_at(0))
    step = 0 if restored is None else restored.step
    print("resumed", step, flush=True)
    while True:
      step += 1
      checkpoints.save(step, state_at(step), metric=float(step % 3))
      print("saving", step, flush=True)


def run_and_kill(directory, after, rng):
  """Starts a child, kills it at a random moment; returns what it resumed at."""
  source = (
    "import sys; sys.path[:0] = ['.', 'tests/training'];"
    "import test_checkpoint_kill as t; t.child(sys.argv[1])"
  )
  process = subprocess.Popen(
    [sys.executable, "-c", source, str(directory)],
    stdout=subprocess.PIPE,
    stderr=subprocess.DEVNULL,
    text=True,
  )
  try:
    resumed = int(process.stdout.readline().split()[1])
    for _ in range(after):
      process.stdout.readline()
    time.sleep(rng.uniform(0, 0.6))
  finally:
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
  assert process.returncode == -signal.SIGKILL
  return resumed


def attack(directory, kills, seed):
  """Kills `kills` times; after each the newest whole step is right."""
  rng, newest, torn = random.Random(seed), 0, 0
  for _ in range(kills):
    resumed = run_and_kill(directory, rng.randint(2, 4), rng)
    assert resumed == newest
    torn += any("tmp" in path.name for path in directory.iterdir())
    with Checkpoints(directory, CONFIG) as checkpoints:
      restored = checkpoints.restore(state_at(0))
      assert restored.skipped == ()
      assert restored.step == checkpoints.steps()[-1] > newest
    for name, value in state_at(restored.step).items():
      np.testing.assert_array_equal(restored.state[name], value)
    newest = restored.step
    assert not [p for p in directory.iterdir() if "tmp" in p.name]
  return torn


def test_killed_during_a_save(tmp_path):
  attack(tmp_path, kills=2, seed=0)


@pytest.mark.slow
def test_killed_during_many_saves(tmp_path):
  torn = attack(tmp_path, kills=16, seed=time.time_ns())
  assert torn  # else no kill hit a save, and nothing was tested
