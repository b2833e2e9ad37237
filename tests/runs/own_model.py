"""A program of somebody else: a small decoder, attnjax and nothing of here.

`test_own_model.py` copies it out of this repository and runs it there.
"""

import dataclasses

import jax.numpy as jnp
import numpy as np
from flax import nnx

import attnjax
from attnjax import masks, nn, runs, training
from attnjax.config import Config, decisive, setting

WORDS, ROWS, LENGTH = 13, 4, 16


@dataclasses.dataclass(frozen=True)
class OwnConfig(Config):
  """Sizes of the model and how it is trained."""

  width: int = setting(8, "features", at_least=1)
  optimizer: training.OptimizerConfig = training.OptimizerConfig(
    peak_learning_rate=0.02, warmup_steps=1
  )
  train: runs.TrainConfig = runs.TrainConfig(steps=4, evaluate_every=2)


class Own(nnx.Module):
  """One layer of attention between a table and a readout."""

  def __init__(self, width, *, rngs):
    self.embed = nnx.Embed(WORDS, width, rngs=rngs)
    self.attention = nn.MultiHeadAttention(width, heads=2, rngs=rngs)
    self.readout = nnx.Linear(width, WORDS, rngs=rngs)

  def __call__(self, tokens, positions):
    x = self.embed(tokens)
    x = x + self.attention(x, mask=masks.causal(), positions=positions)
    return self.readout(x)

  def with_attend(self, attend):
    return nn.with_attend(self, attend)


def loss(model, batch, key):
  del key
  attend = model.attention.attend
  print("attends with", getattr(attend, "kind", "attnjax.attend"))
  logits = model(batch["tokens"], batch["positions"])
  weights = jnp.ones(batch["targets"].shape)
  return training.cross_entropy(logits, batch["targets"], weights)


def batches(step):
  words = np.random.default_rng(step).integers(WORDS, size=(ROWS, LENGTH + 1))
  words = words.astype(np.int32)
  positions = np.tile(np.arange(LENGTH, dtype=np.int32), (ROWS, 1))
  return {
    "tokens": words[:, :-1],
    "targets": words[:, 1:],
    "positions": positions,
  }


def main(config, workdir):
  make = lambda: Own(config.width, rngs=nnx.Rngs(0))
  fitted = runs.fit(
    runs.make_model(make, config.train),
    loss,
    batches,
    workdir=workdir,
    experiment="own",
    identity=decisive(config),
    optimizer=config.optimizer,
    train=config.train,
    evaluate=training.make_evaluate(loss).on([batches(99)]),
  )
  assert fitted.params.attention.attend is attnjax.attend
  print("losses", *(record["loss"] for record in fitted.records))


if __name__ == "__main__":
  runs.run(main, {"tiny": OwnConfig}, experiment="own")
