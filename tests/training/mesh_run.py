"""A small regression by `fit` on any mesh, in any number of processes."""

import dataclasses

import jax
import numpy as np
from jax.sharding import PartitionSpec as P

from attnjax import runs, training

STEPS, ROWS = 12, 24
OPTIMIZER = training.OptimizerConfig(
  peak_learning_rate=0.05, warmup_steps=2, decayed="kernel|readout"
)
RULES = [("kernel", P("fsdp", "tensor")), ("readout", P("tensor")), ("", P())]


def make():
  """New parameters."""
  keys = jax.random.split(jax.random.key(0))
  return {
    "kernel": jax.random.normal(keys[0], (8, 16)) / 3,
    "readout": jax.random.normal(keys[1], (16,)) / 4,
  }


def loss(params, batch, key):
  """Squared error, with noise so that keys matter too."""
  noise = jax.numpy.zeros(batch["y"].shape)
  if key is not None:
    noise = 0.01 * jax.random.normal(key, noise.shape)
  hidden = jax.numpy.tanh(batch["x"] @ params["kernel"])
  errors = (hidden @ params["readout"] + noise - batch["y"]) ** 2
  return errors.sum(), jax.numpy.float32(errors.size)


@dataclasses.dataclass(frozen=True)
class Batches:
  """Random inputs and their targets, each row a function of its number."""

  batch_size: int = ROWS

  def __call__(self, step):
    """The batch of a step."""
    return self.rows(step, 0, self.batch_size)

  def rows(self, step, start, stop):
    """Some rows of it."""
    numbers = range(step * ROWS + start, step * ROWS + stop)
    x = [np.random.default_rng(n).normal(size=8) for n in numbers]
    x = np.array(x, np.float32)
    return {"x": x, "y": np.sin(x.sum(-1))}


def config(mesh, steps=STEPS):
  """Of a run on a mesh."""
  return runs.TrainConfig(
    steps=steps,
    log_every=1,
    evaluate_every=5,
    progress_seconds=1.0,
    checkpoint=training.CheckpointConfig(every_steps=4),
    mesh=mesh,
  )


def fit(workdir, mesh, batches=None, steps=STEPS):
  """A run in a directory; goes on where an earlier one of it stopped."""
  train = config(mesh, steps)
  return runs.fit(
    training.initialise(make, mesh=mesh.make(), rules=RULES),
    loss,
    batches or Batches(),
    workdir=workdir,
    experiment="mesh",
    identity={"train": {"steps": steps, "mesh": dataclasses.asdict(mesh)}},
    optimizer=OPTIMIZER,
    train=train,
    evaluate=training.make_evaluate(loss).on([Batches()(99), Batches()(98)]),
    rules=RULES,
  )


def losses(workdir):
  """The loss of every step and of every evaluation."""
  records = training.read_metrics(f"{workdir}/metrics.jsonl")
  return {(r["step"], r["split"]): r["loss"] for r in records}
