"""One training run of a head on a corpus."""

from pathlib import Path

import jax

from attnjax import config as configs
from attnjax import training
from attnjax.data import train_batches
from experiments.fluffy_creature import model as models
from experiments.fluffy_creature.config import FluffyCreatureConfig
from experiments.fluffy_creature.corpora import Corpus

__all__ = ["fit"]


def fit(
  config: FluffyCreatureConfig,
  corpus: Corpus,
  look: str,
  seed: int,
  workdir: Path,
) -> models.OneHead:
  """Trains a head that may look as `look` says, or finds it trained."""
  words, adjectives = map(len, corpus.vocabulary)
  loss, run = (
    models.Loss(look, config.loss),
    f"{look.replace(' ', '_')}/seed{seed}",
  )
  first = jax.device_put(corpus.heldout[:250])
  return training.fit(
    models.make(config.model, words, adjectives, seed),
    loss,
    train_batches(corpus.train, config.batch_size, seed),
    workdir=workdir / run,
    experiment="fluffy_creature",
    identity=configs.to_dict(config) | {"run": run, "corpus": corpus.digest},
    optimizer=config.optimizer,
    train=configs.replace_leaves(config.train, {"seed": seed}),
    evaluate=training.make_evaluate(loss).on([first]),
  ).params
