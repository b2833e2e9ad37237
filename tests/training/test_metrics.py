"""Metrics on disk: exact floats, resuming, repair after a kill, TensorBoard."""

import json
import math
import struct
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from attnjax.training.metrics import Metrics, read_metrics


def lines_of(path):
  return path.read_text().splitlines()


def write_steps(workdir, steps):
  with Metrics(workdir, 0, tensorboard=False) as metrics:
    for step in steps:
      metrics.write(step, "train", {"loss": step / 3})
  return workdir / "metrics.jsonl"


def test_a_record_is_one_line_that_is_there_at_once(tmp_path):
  with Metrics(tmp_path / "new" / "run", 0, tensorboard=False) as metrics:
    metrics.write(3, "train", {"loss": jnp.float32(0.5), "weight": 7})
    found = lines_of(tmp_path / "new" / "run" / "metrics.jsonl")
  assert found == ['{"step": 3, "split": "train", "loss": 0.5, "weight": 7.0}']


def test_floats_come_back_bit_for_bit(tmp_path):
  random = np.random.default_rng(0)
  bits = random.integers(0, 2**31, 1000, dtype=np.uint32)
  values = [x for x in bits.view(np.float32) if np.isfinite(x)]
  values += [np.float64(1) / 3, np.nextafter(1.0, 2.0), 5e-324]
  with Metrics(tmp_path, 0, tensorboard=False) as metrics:
    for step, value in enumerate(values):
      metrics.write(step + 1, "train", {"loss": value})
  records = read_metrics(tmp_path / "metrics.jsonl")
  assert [record["loss"] for record in records] == [float(x) for x in values]


def test_a_number_that_is_not_finite_is_null(tmp_path):
  with Metrics(tmp_path, 0, tensorboard=False) as metrics:
    metrics.write(1, "eval", {"perplexity": math.inf, "loss": math.nan})
  (line,) = lines_of(tmp_path / "metrics.jsonl")
  assert json.loads(line)["perplexity"] is None
  assert json.loads(line)["loss"] is None


def test_resuming_drops_later_records_and_keeps_the_others_as_they_are(
  tmp_path,
):
  path = write_steps(tmp_path, [1, 2, 3, 4, 5])
  before = lines_of(path)
  with Metrics(tmp_path, 3, tensorboard=False) as metrics:
    assert lines_of(path) == before[:3]
    metrics.write(4, "train", {"loss": 9.0})
  assert lines_of(path)[:3] == before[:3]
  assert json.loads(lines_of(path)[3])["loss"] == 9.0
  assert [p.name for p in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_a_new_run_drops_everything(tmp_path):
  path = write_steps(tmp_path, [1, 2])
  with Metrics(tmp_path, 0, tensorboard=False):
    assert path.read_text() == ""


@pytest.mark.parametrize("cut", range(1, 20, 3))
def test_a_last_line_cut_by_a_kill_is_repaired(tmp_path, cut):
  path = write_steps(tmp_path, [1, 2, 3])
  whole = path.read_bytes()
  path.write_bytes(whole[: -1 - cut])
  with Metrics(tmp_path, 3, tensorboard=False) as metrics:
    metrics.write(3, "train", {"loss": 1.0})
  assert path.read_bytes() == whole


def test_a_lost_line_end_only_is_put_back(tmp_path):
  path = write_steps(tmp_path, [1, 2])
  whole = path.read_bytes()
  path.write_bytes(whole[:-1])
  with Metrics(tmp_path, 2, tensorboard=False):
    assert path.read_bytes() == whole


@pytest.mark.parametrize("line", ["", '{"step": 2', "[1, 2]", '{"loss": 1.0}'])
def test_damage_in_the_middle_is_an_error_that_names_the_line(tmp_path, line):
  path = write_steps(tmp_path, [1, 2, 3])
  first, _, last = lines_of(path)
  text = f"{first}\n{line}\n{last}\n"
  path.write_text(text)
  with pytest.raises(ValueError, match=r"metrics\.jsonl, line 2: expected"):
    Metrics(tmp_path, 3, tensorboard=False)
  assert path.read_text() == text


def test_evaluations_survive_a_resume(tmp_path):
  with Metrics(tmp_path, 0, tensorboard=False) as metrics:
    for step in (2, 4, 6):
      metrics.write(step, "train", {"loss": 0.0})
      metrics.write(step, "eval", {"loss": step / 7})
  with Metrics(tmp_path, tensorboard=False) as metrics:
    metrics.resume(4)
    steps = [record["step"] for record in metrics.evaluations()]
    assert steps == [2, 4]
    assert metrics.evaluations()[-1]["loss"] == 4 / 7


@pytest.mark.parametrize("opened", [False, True])
def test_writing_to_nothing_is_an_error(tmp_path, opened):
  metrics = Metrics(tmp_path, 0 if opened else None, tensorboard=False)
  metrics.close()
  with pytest.raises(ValueError, match=r"call metrics\.resume"):
    metrics.write(1, "train", {"loss": 1.0})


def scalars(directory):
  """(tag, value, step) of the event files in the order TensorBoard reads.

  A record of the format is its length (8 bytes), a checksum (4), the event
  and another checksum (4). A START event purges its step and what follows.
  """
  from tensorboardX.proto.event_pb2 import Event, SessionLog

  found = []
  for path in sorted(directory.iterdir()):
    data = path.read_bytes()
    while data:
      (size,) = struct.unpack("<Q", data[:8])
      event = Event.FromString(data[12 : 12 + size])
      data = data[16 + size :]
      if event.session_log.status == SessionLog.START:
        found = [entry for entry in found if entry[2] < event.step]
      for value in event.summary.value:
        found.append((value.tag, value.simple_value, event.step))
  return found


def test_tensorboard_has_the_same_and_forgets_what_is_dropped(tmp_path):
  for resume, steps in ((0, (1, 2, 3)), (2, (3, 4))):
    with Metrics(tmp_path, resume) as metrics:
      for step in steps:
        metrics.write(step, "train", {"loss": step + resume})
      metrics.sync()
  assert scalars(tmp_path / "tensorboard") == [
    ("train/loss", 1.0, 1),
    ("train/loss", 2.0, 2),
    ("train/loss", 5.0, 3),
    ("train/loss", 6.0, 4),
  ]


def test_a_missing_extra_is_named(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, "tensorboardX", None)
  with pytest.raises(ImportError, match=r"attnjax\[metrics\]"):
    Metrics(tmp_path, 0)
