"""`fit`: a model trained in a directory of its own, again or further."""

import dataclasses
import errno
import os
import pathlib

import jax.numpy as jnp
import numpy as np
import pytest

from attnjax import config as configs
from attnjax import training


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
  return training.fit(
    {"kernel": jnp.zeros(2)},
    loss,
    changes.pop("batches", batches),
    workdir=workdir,
    experiment="fit",
    identity=identity or {"steps": steps},
    optimizer=training.OptimizerConfig(
      **{"peak_learning_rate": 0.1} | optimizer | changes.pop("optimizer", {})
    ),
    train=training.TrainConfig(**train | changes.pop("train", {})),
    evaluate=training.make_evaluate(loss).on([batches(0), batches(1)]),
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

  second = training.fit(
    {"kernel": jnp.zeros(2)},
    again,
    batches,
    workdir=tmp_path,
    experiment="fit",
    identity={"steps": 6},
    optimizer=training.OptimizerConfig(0.1, warmup_steps=0, weight_decay=0.0),
    train=training.TrainConfig(steps=6),
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
def test_an_attention_that_no_loss_reads_is_refused_not_dropped(
  tmp_path, mesh, leaf
):
  mesh = training.MeshConfig(data=2, **mesh)
  with pytest.raises(ValueError, match=rf"train\.mesh\.{leaf} unless the loss"):
    fit(tmp_path / "run", train={"mesh": mesh})
  assert not (tmp_path / "run").exists()


def test_an_attention_that_the_loss_reads_is_accepted(tmp_path):
  mesh = training.MeshConfig(data=0, sequence=2, attention="ulysses")
  # The batch is of one axis; that is found later, and the attention is not.
  with pytest.raises(ValueError, match="does not divide its 2 rows"):
    fit(tmp_path, train={"mesh": mesh}, honoured=("attention",))


@pytest.mark.parametrize(
  ("changes", "leaf"),
  [
    ({"optimizer": {"peak_learning_rate": 0.2}}, "peak_learning_rate is 0.1"),
    ({"optimizer": {"beta1": 0.5}}, r"optimizer\.beta1 is 0\.9 there and 0\.5"),
    ({"optimizer": {"clip_norm": None}}, r"optimizer\.clip_norm is 1\.0 there"),
    ({"train": {"steps": 8}}, r"train\.steps is 6 there and 8 here"),
    ({"train": {"seed": 5}}, r"train\.seed is 0 there and 5 here"),
    ({"train": {"microbatches": 2}}, r"train\.microbatches is 1 there and 2"),
  ],
)
def test_the_same_identity_with_another_optimizer_steps_or_seed_is_refused(
  tmp_path, changes, leaf
):
  fit(tmp_path, identity={"data": "a"})
  with pytest.raises(ValueError, match=rf"belongs to another run: .*{leaf}"):
    fit(tmp_path, identity={"data": "a"}, **changes)


@pytest.mark.parametrize(
  "changes",
  [
    {"progress_seconds": 1.0},
    {"log_every": 1},
    {"evaluate_every": 2},
    {"checkpoint": training.CheckpointConfig(every_steps=3, keep_last=1)},
    {"mesh": training.MeshConfig(gather=False)},
    {"processes": training.ProcessesConfig(lost_seconds=60)},
  ],
)
def test_what_changes_no_number_does_not_keep_a_run_from_going_on(
  tmp_path, changes
):
  config = training.TrainConfig(steps=6, evaluate_every=3)
  named = {"train": configs.to_dict(config)}  # as one would naturally say it
  first = fit(tmp_path, identity=named)
  changed = dataclasses.replace(config, **changes)
  again = fit(
    tmp_path, identity={"train": configs.to_dict(changed)}, train=changes
  )
  assert again.records == first.records


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
