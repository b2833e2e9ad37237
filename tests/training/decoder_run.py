"""Twenty training steps of a small decoder on any mesh, to be compared.

As a program: one of two processes, which prints the losses on each of `SHARED`.
"""

import json
import sys

import jax
import numpy as np
from flax import nnx

from attnjax import runs, training
from attnjax.models import DecoderConfig, DecoderLM, partition_rules
from attnjax.runs import loss_on
from attnjax.training.state import init_on

STEPS, ROWS, LENGTH, WORDS = 20, 8, 16, 13
# Meshes of eight devices on which two processes have to send to each other.
SHARED = [
  {"data": 8},
  {"data": 2, "fsdp": 2, "sequence": 2, "layout": "zigzag"},
  {"fsdp": 2, "sequence": 4},
]
MODEL = DecoderConfig(width=16, depth=1, heads=2, hidden=24)
OPTIMIZER = training.make_optimizer(
  training.OptimizerConfig(peak_learning_rate=0.02, warmup_steps=2), STEPS
)


def make():
  """A new decoder."""
  return DecoderLM(MODEL, WORDS, rngs=nnx.Rngs(0))


def batches(step):
  """Rows whose every word follows from the one before, in one order."""
  first = np.random.default_rng(step).integers(WORDS, size=(ROWS, 1))
  words = (first * 3 ** (np.arange(LENGTH + 1) % 3) + step) % WORDS
  words = words.astype(np.int32)
  positions = np.tile(np.arange(LENGTH, dtype=np.int32), (ROWS, 1))
  return {
    "tokens": words[:, :-1],
    "targets": words[:, 1:],
    "positions": positions,
  }


def loss(model, batch, key):
  """(nats, tokens), summed."""
  del key
  logits = model(batch["tokens"], positions=batch["positions"])
  weights = jax.numpy.ones(batch["targets"].shape)
  return training.cross_entropy(logits, batch["targets"], weights)


def train(**chosen):
  """The losses of every step on a mesh, and the state after the last."""
  config = runs.MeshConfig(**chosen)
  mesh, shapes = config.make(), jax.eval_shape(make)
  rules = partition_rules(shapes)
  model = training.initialise(make, mesh=mesh, rules=rules)
  step = training.make_step(loss_on(mesh, config, shapes, loss), OPTIMIZER)
  if mesh is None:
    feed, jitted = batches, training.jit_step(step)
    state = jax.jit(lambda model: training.init_state(model, OPTIMIZER))(model)
  else:
    state, places = init_on(mesh, model, OPTIMIZER, rules)
    feed, jitted = (
      training.GlobalBatches(batches, mesh),
      training.jit_step(step, places),
    )
  losses = []
  for number in range(STEPS):
    state, metrics = jitted(state, feed(number))
    losses.append(float(metrics["loss"]))
  return losses, state


if __name__ == "__main__":
  address, place = sys.argv[1:]
  joining = training.ProcessesConfig(
    coordinator=address, count=2, index=int(place)
  )
  with training.joined(joining):
    print(json.dumps([train(**chosen)[0] for chosen in SHARED]))
