"""A work directory belongs to one experiment with one config."""

import json
import os
import threading

import pytest

from attnjax.training import step_directories
from attnjax.training.workdir import claim

CONFIG = {
  "model": {"width": 64, "depth": 2, "dropout": None},
  "train": {"learning_rate": 1e-3, "name": "a", "shape": (3, 5)},
}


def _files(path):
  return {p.name: p.read_bytes() for p in path.iterdir()}


def test_a_new_directory_gets_the_config(tmp_path):
  path = claim(tmp_path / "a" / "b", "copy", CONFIG)
  written = json.loads((path / "config.json").read_text())
  assert path == (tmp_path / "a" / "b").resolve()
  assert written["experiment"] == "copy"
  assert written["config"]["model"] == CONFIG["model"]
  assert list(_files(path)) == ["config.json"]  # no temporary is left


def test_an_equal_config_continues_and_writes_nothing(tmp_path):
  path = claim(tmp_path, "copy", CONFIG)
  before = (path / "config.json").stat().st_mtime_ns
  assert claim(tmp_path, "copy", CONFIG) == path
  assert (path / "config.json").stat().st_mtime_ns == before


def test_a_relative_directory_is_resolved(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  assert claim("runs/one", "copy", CONFIG) == tmp_path / "runs" / "one"


def test_a_directory_with_other_files_is_claimed(tmp_path):
  (tmp_path / "slurm.log").write_text("hello")
  claim(tmp_path, "copy", CONFIG)
  assert (tmp_path / "slurm.log").read_text() == "hello"


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"width": 65}, "config.model.width is 64 there and 65 here"),
    ({"dropout": 0.1}, "config.model.dropout is null there and 0.1 here"),
    ({"heads": 7}, r"config.model.heads is \(absent\) there and 7 here"),
    ({"depth": 2.0}, "config.model.depth is 2 there and 2.0 here"),
    ({"depth": True}, "config.model.depth is 2 there and true here"),
    (
      {"width": 1, "depth": 3},
      "config.model.depth is 2 .* 3 here, config.model.width is 64 .* 1 here",
    ),
  ],
)
def test_other_leaves_are_each_named(tmp_path, change, message):
  claim(tmp_path, "copy", CONFIG)
  before = _files(tmp_path)
  other = CONFIG | {"model": CONFIG["model"] | change}
  with pytest.raises(ValueError, match=message) as error:
    claim(tmp_path, "copy", other)
  assert "another --workdir" in str(error.value)
  assert "\n" not in str(error.value)
  assert _files(tmp_path) == before


def test_a_leaf_that_went_away_is_named(tmp_path):
  claim(tmp_path, "copy", CONFIG)
  train = {k: v for k, v in CONFIG["train"].items() if k != "name"}
  with pytest.raises(
    ValueError, match=r'config.train.name is "a" there and \(absent\) here'
  ):
    claim(tmp_path, "copy", CONFIG | {"train": train})


def test_another_experiment_is_named(tmp_path):
  claim(tmp_path, "copy", CONFIG)
  with pytest.raises(ValueError, match='experiment is "copy" there and "lm"'):
    claim(tmp_path, "lm", CONFIG)


def test_not_a_number_equals_itself(tmp_path):
  config = {"threshold": float("nan")}
  assert claim(tmp_path, "copy", config) == claim(tmp_path, "copy", config)


@pytest.mark.parametrize(
  "text", ["", "{", "[]", "3", "{}", '{"experiment": "copy"}', "\xff\xfe"]
)
def test_a_corrupt_config_is_one_clear_line(tmp_path, text):
  (tmp_path / "config.json").write_bytes(text.encode("latin-1"))
  with pytest.raises(
    ValueError, match=r"config\.json is not what a run wrote .* another"
  ) as error:
    claim(tmp_path, "copy", CONFIG)
  assert "\n" not in str(error.value)
  assert (tmp_path / "config.json").read_bytes() == text.encode("latin-1")


def test_a_config_that_is_a_directory(tmp_path):
  (tmp_path / "config.json").mkdir()
  with pytest.raises(ValueError, match=r"cannot be used .Is a directory"):
    claim(tmp_path, "copy", CONFIG)


def test_a_workdir_that_is_a_file(tmp_path):
  (tmp_path / "file").write_text("x")
  for path in (tmp_path / "file", tmp_path / "file" / "below"):
    with pytest.raises(ValueError, match=r"workdir: .* name a --workdir"):
      claim(path, "copy", CONFIG)


def test_no_permission_to_write(tmp_path, monkeypatch):
  def refuse(source, target):
    raise PermissionError(13, "Permission denied", str(target))

  monkeypatch.setattr(os, "replace", refuse)
  with pytest.raises(ValueError, match=r"cannot be used .Permission denied"):
    claim(tmp_path, "copy", CONFIG)
  assert not _files(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_no_permission_on_the_directory(tmp_path):
  tmp_path.chmod(0o500)
  with pytest.raises(ValueError, match="Permission denied"):
    claim(tmp_path, "copy", CONFIG)


def test_a_config_that_json_cannot_hold(tmp_path):
  with pytest.raises(ValueError, match="config: expected a nested dict"):
    claim(tmp_path, "copy", {"model": object()})
  assert not _files(tmp_path)


@pytest.mark.parametrize("below", ["300", "checkpoints/300"])
def test_checkpoints_without_a_config_are_refused(tmp_path, below):
  (tmp_path / below).mkdir(parents=True)
  (tmp_path / below / step_directories.MANIFEST).write_text("{}")
  with pytest.raises(ValueError, match=r"has no config\.json but a checkpoint"):
    claim(tmp_path, "copy", CONFIG)
  assert not (tmp_path / "config.json").exists()


def test_processes_that_claim_at_once_all_succeed(tmp_path):
  errors = []

  def run():
    try:
      claim(tmp_path, "copy", CONFIG)
    except BaseException as error:
      errors.append(error)

  threads = [threading.Thread(target=run) for _ in range(8)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert not errors
  assert list(_files(tmp_path)) == ["config.json"]
