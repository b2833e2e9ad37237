"""A tiny regression through `train`, as a program that tests can kill."""

import argparse
import hashlib
import time

import jax
import numpy as np

from attnjax import runs, training

STEPS = 60


def loss_fn(params, batch, key):
  """Squared error, with noise so that keys matter too."""
  noise = 0.1 * jax.random.normal(key, batch["y"].shape)
  hidden = jax.numpy.tanh(batch["x"] @ params["kernel"])
  errors = (hidden @ params["readout"] + noise - batch["y"]) ** 2
  return errors.sum(), jax.numpy.float32(errors.size)


def evaluation_loss(params, batch, key):
  """The same without noise."""
  hidden = jax.numpy.tanh(batch["x"] @ params["kernel"])
  errors = (hidden @ params["readout"] - batch["y"]) ** 2
  return errors.sum(), jax.numpy.float32(errors.size)


def batch_at(step):
  """Random inputs and their targets, a function of the step alone."""
  random = np.random.default_rng(step)
  x = random.normal(size=(26, 5)).astype(np.float32)
  return {"x": x, "y": np.sin(x.sum(-1))}


def main():
  """Trains, then prints a digest of the state and the best step."""
  parser = argparse.ArgumentParser()
  parser.add_argument("workdir")
  parser.add_argument("--pause", type=float, default=0.0)
  parser.add_argument("--coordinator")
  flags = parser.parse_args()
  if flags.coordinator:
    jax.distributed.initialize(flags.coordinator, 1, 0)

  def slow_batch_at(step):
    time.sleep(flags.pause)
    return batch_at(step)

  config = runs.TrainConfig(
    steps=STEPS,
    evaluate_every=7,
    log_every=1,
    microbatches=2,
    progress_seconds=1.0,
    checkpoint=training.CheckpointConfig(every_steps=5, keep_last=2),
  )
  optimizer = training.make_optimizer(
    training.OptimizerConfig(
      peak_learning_rate=0.05, warmup_steps=5, decayed="kernel|readout"
    ),
    config.steps,
  )
  random = np.random.default_rng(0)
  params = {
    "kernel": jax.numpy.asarray(random.normal(size=(5, 11)), "float32"),
    "readout": jax.numpy.asarray(random.normal(size=11), "float32"),
  }
  step = training.make_step(
    loss_fn, optimizer, microbatches=config.microbatches
  )
  evaluate = training.make_evaluate(evaluation_loss)
  with (
    training.Checkpoints(
      f"{flags.workdir}/checkpoints", config.checkpoint
    ) as checkpoints,
    training.Metrics(flags.workdir, tensorboard=False) as metrics,
  ):
    state = training.train(
      training.init_state(params, optimizer),
      step=training.jit_step(step),
      batch_at=slow_batch_at,
      evaluate=lambda params: evaluate(params, map(batch_at, range(900, 903))),
      checkpoints=checkpoints,
      metrics=metrics,
      config=config,
    )
    leaves = [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(state)]
    digest = hashlib.sha256(b"".join(leaves)).hexdigest()
    print("state", digest, "best", checkpoints.best())


if __name__ == "__main__":
  main()
