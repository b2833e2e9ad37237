"""`fit`: a model trained in a directory of its own, again or further."""

import dataclasses
import errno
import os
import pathlib

import jax.numpy as jnp
import numpy as np
import pytest

from attnjax import config as configs
from attnjax import runs, training
from attnjax.training import metrics, step_directories
from tests.few import few


def loss(params, batch, key):
  del key
  error = params["kernel"] - batch["x"]
  return (error**2).sum(), jnp.float32(error.size)


def batches(step):
  return {"x": np.float32([step % 3, 2])}


def fit(workdir, steps=6, identity=None, loss=loss, **changes):
  """Six steps; changes are leaves of the optimizer and of the training."""
  optimizer = {"warmup_steps": 0, "weight_decay": 0.0}
  train = {
    "steps": steps,
    "evaluate_every": 3,
    "checkpoint": training.CheckpointConfig(every_steps=2),
  }
  return runs.fit(
    {"kernel": jnp.zeros(2)},
    loss,
    changes.pop("batches", batches),
    workdir=workdir,
    experiment="fit",
    identity=identity or {"steps": steps},
    optimizer=training.OptimizerConfig(
      **{"peak_learning_rate": 0.1} | optimizer | changes.pop("optimizer", {})
    ),
    train=runs.TrainConfig(**train | changes.pop("train", {})),
    evaluate=changes.pop(
      "evaluate", training.make_evaluate(loss).on([batches(0), batches(1)])
    ),
    **changes,
  )


def test_it_trains_and_tells_every_evaluation(tmp_path):
  fitted = fit(tmp_path)
  assert [record["step"] for record in fitted.records] == [3, 6]
  assert fitted.records[1]["loss"] < fitted.records[0]["loss"]


def test_a_finished_run_is_found_again_and_not_run_again(tmp_path):
  first = fit(tmp_path)

  def again(params, batch, key):
    # Its shapes are asked for; it must never be run.
    return loss(params, batch, key)[0] * jnp.nan, jnp.float32(1)

  second = runs.fit(
    {"kernel": jnp.zeros(2)},
    again,
    batches,
    workdir=tmp_path,
    experiment="fit",
    identity={"steps": 6},
    optimizer=training.OptimizerConfig(0.1, warmup_steps=0, weight_decay=0.0),
    train=runs.TrainConfig(steps=6),
  )
  np.testing.assert_array_equal(first.params["kernel"], second.params["kernel"])
  assert first.records == second.records


def test_another_run_s_directory_is_refused(tmp_path):
  fit(tmp_path)
  with pytest.raises(ValueError, match="belongs to another run"):
    fit(tmp_path, identity={"steps": 7})


def test_a_batch_that_does_not_suit_writes_nothing(tmp_path):
  def wrong(params, batch, key):
    return batch["y"].sum(), jnp.float32(1)

  with pytest.raises(KeyError):
    fit(tmp_path / "run", loss=wrong)
  assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
  ("mesh", "leaf"),
  [
    ({"sequence": 4, "attention": "ulysses"}, "attention must be 'ring'"),
    ({"sequence": 4, "layout": "zigzag"}, "layout must be 'contiguous'"),
  ],
)
def test_an_attention_that_the_model_does_not_take_is_refused_not_dropped(
  tmp_path, mesh, leaf
):
  mesh = runs.MeshConfig(data=2, **mesh)
  with pytest.raises(ValueError, match=rf"mesh\.{leaf}, got .*`with_attend`"):
    fit(tmp_path / "run", train={"mesh": mesh})
  assert not (tmp_path / "run").exists()


OTHERS = (
  ({"optimizer": {"peak_learning_rate": 0.2}}, "peak_learning_rate is 0.1"),
  ({"optimizer": {"beta1": 0.5}}, r"optimizer\.beta1 is 0\.9 there and 0\.5"),
  ({"optimizer": {"clip_norm": None}}, r"optimizer\.clip_norm is 1\.0 there"),
  ({"train": {"steps": 8}}, r"train\.steps is 6 there and 8 here"),
  ({"train": {"seed": 5}}, r"train\.seed is 0 there and 5 here"),
  ({"train": {"microbatches": 2}}, r"train\.microbatches is 1 there and 2"),
)


def test_the_same_identity_with_another_optimizer_steps_or_seed_is_refused(
  tmp_path,
):
  fit(tmp_path, identity={"data": "a"})
  for changes, leaf in OTHERS:
    with pytest.raises(ValueError, match=rf"belongs to another run: .*{leaf}"):
      fit(tmp_path, identity={"data": "a"}, **changes)


SAME_NUMBERS = (
  {"progress_seconds": 1.0},
  {"log_every": 1},
  {"evaluate_every": 2},
  {"checkpoint": training.CheckpointConfig(every_steps=3, keep_last=1)},
  {"mesh": runs.MeshConfig(gather=False)},
  {"processes": training.ProcessesConfig(lost_seconds=60)},
)


def test_what_changes_no_number_does_not_keep_a_run_from_going_on(tmp_path):
  config = runs.TrainConfig(steps=6, evaluate_every=3)
  named = {"train": configs.to_dict(config)}  # as one would naturally say it
  first = fit(tmp_path, identity=named)
  for changes in SAME_NUMBERS:
    changed = dataclasses.replace(config, **changes)
    again = fit(
      tmp_path, identity={"train": configs.to_dict(changed)}, train=changes
    )
    assert again.records == first.records, changes


def test_an_identity_that_calls_something_else_train_is_refused(tmp_path):
  with pytest.raises(ValueError, match=r"identity\['train'\] must be the leav"):
    fit(tmp_path / "run", identity={"train": "wikipedia"})
  assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("address", ["gs://b/c", "s3://b/c", "gs:/b/c"])
def test_the_address_of_a_bucket_is_refused_before_anything_is_made(
  tmp_path, monkeypatch, address
):
  monkeypatch.chdir(tmp_path)
  for workdir in (address, pathlib.Path(address)):
    with pytest.raises(ValueError, match="workdir must be a directory of a mo"):
      fit(workdir)
  assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
  ("call", "what"),
  [("rename", "rename a directory that is not empty"), ("open", "append to")],
)
def test_a_place_that_cannot_do_what_a_run_needs_is_refused_before_training(
  tmp_path, monkeypatch, call, what
):
  """As gcsfuse on a flat bucket, or goofys on S3, refuse it."""
  rename, open_ = os.rename, pathlib.Path.open

  def no_rename(source, target):
    if pathlib.Path(source).is_dir():
      raise OSError(errno.EMFILE, "Too many open files", str(source))
    rename(source, target)

  def no_append(path, mode="r", *args, **kwargs):
    if mode == "a":
      raise OSError(errno.EINVAL, "Invalid argument", str(path))
    return open_(path, mode, *args, **kwargs)

  trained = []

  def batches_seen(step):
    trained.append(step)
    return batches(step)

  if call == "rename":
    monkeypatch.setattr(os, "rename", no_rename)
  else:
    monkeypatch.setattr(pathlib.Path, "open", no_append)
  with pytest.raises(ValueError, match=rf"cannot {what}.*rename-dir-limit"):
    fit(tmp_path, batches=batches_seen)
  assert trained == [0]  # whose shapes were asked for
  assert not [path for path in tmp_path.iterdir() if "probe" in path.name]


def test_the_probe_leaves_nothing_behind(tmp_path):
  training.probe_workdir(tmp_path / "new")
  assert list((tmp_path / "new").iterdir()) == []


@pytest.mark.parametrize(
  "name",
  [
    *("loss", "weight", "learning_rate", "gradient_norm", "parameter_norm"),
    *("perplexity", "tokens_per_second", "step", "split"),
  ],
)
def test_a_metric_of_the_loss_takes_the_place_of_no_real_one(tmp_path, name):
  def lying(params, batch, key):
    return *loss(params, batch, key), {name: jnp.float32(-777)}

  with pytest.raises(ValueError, match=f"must not be called {name}, for a met"):
    fit(tmp_path / "run", loss=lying)
  assert not (tmp_path / "run").exists()
  with pytest.raises(ValueError, match=f"must not be called {name}"):
    training.make_evaluate(lying)({"kernel": jnp.zeros(2)}, [batches(0)])


def test_a_metric_by_another_name_is_recorded(tmp_path):
  def telling(params, batch, key):
    return *loss(params, batch, key), {"hits": jnp.float32(4)}

  assert fit(tmp_path, loss=telling).records[-1]["hits"] == 2.0


def test_an_evaluation_without_a_loss_is_found_before_the_first_step(tmp_path):
  with pytest.raises(ValueError, match="must return a `loss`"):
    fit(tmp_path / "run", evaluate=lambda params: {"accuracy": 1.0})
  assert not (tmp_path / "run").exists()


def test_an_evaluation_that_says_what_it_returns_is_not_tried(tmp_path):
  called = []

  class Told:
    names = ("loss",)

    def __call__(self, params):
      called.append(1)
      return {"loss": 1.0}

  def untold(params):
    return Told()(params)

  fit(tmp_path / "told", evaluate=Told())
  assert len(called) == 2  # after steps 3 and 6
  called.clear()
  fit(tmp_path / "untold", evaluate=untold)
  assert len(called) == 3
  called.clear()
  fit(tmp_path / "untold", evaluate=untold)  # it was tried when it was new
  assert not called


@pytest.mark.parametrize(
  "code", few([errno.ENOSPC, errno.EDQUOT], errno.ENOSPC)
)
def test_a_full_disk_is_one_sentence_with_the_path_and_the_remedy(
  tmp_path, monkeypatch, capfd, code
):
  whole = fit(tmp_path / "whole")
  write = step_directories.write_durably

  def full(path, mode, text):
    if "/4." in str(path):  # the step directory that is being written
      raise OSError(code, os.strerror(code))
    write(path, mode, text)

  monkeypatch.setattr(step_directories, "write_durably", full)
  with pytest.raises(OSError, match="cannot save step 4 in ") as caught:
    fit(tmp_path / "run")
  message = str(caught.value)
  assert f"{tmp_path}/run/checkpoints: {os.strerror(code)}; free" in message
  assert "name a --workdir on another disk" in message
  assert message.endswith("the same command goes on after step 3")
  assert "Traceback" not in capfd.readouterr().err
  # And so it does, once there is space.
  monkeypatch.setattr(step_directories, "write_durably", write)
  again = fit(tmp_path / "run")
  np.testing.assert_array_equal(whole.params["kernel"], again.params["kernel"])


def test_records_on_a_full_disk_are_one_sentence_too(tmp_path, monkeypatch):
  if not os.path.exists("/dev/full"):
    pytest.skip("this system has no /dev/full")
  lines = metrics.JsonLines(tmp_path / "metrics.jsonl", 0)
  lines.close()
  lines._file = open("/dev/full", "a")  # noqa: SIM115
  with pytest.raises(OSError, match=r"cannot write a record in .*jsonl: No sp"):
    lines.write({"step": 1, "split": "train", "loss": 1.0})
  with pytest.raises(OSError, match="cannot write records in"):
    lines.close()
