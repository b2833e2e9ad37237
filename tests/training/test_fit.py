"""`fit`: a model trained in a directory of its own, again or further."""

import jax.numpy as jnp
import numpy as np
import pytest

from attnjax import training


def loss(params, batch, key):
  del key
  error = params["kernel"] - batch["x"]
  return (error**2).sum(), jnp.float32(error.size)


def batches(step):
  return {"x": np.float32([step % 3, 2])}


def fit(workdir, steps=6, identity=None, loss=loss):
  return training.fit(
    {"kernel": jnp.zeros(2)},
    loss,
    batches,
    workdir=workdir,
    experiment="fit",
    identity=identity or {"steps": steps},
    optimizer=training.OptimizerConfig(0.1, warmup_steps=0, weight_decay=0.0),
    train=training.TrainConfig(
      steps=steps,
      evaluate_every=3,
      checkpoint=training.CheckpointConfig(every_steps=2),
    ),
    evaluate=training.make_evaluate(loss).on([batches(0), batches(1)]),
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
