"""Training of one head on a corpus."""

from pathlib import Path

import jax

from attnjax import runs
from attnjax.data import train_batches
from attnjax.runs import trial_arguments
from attnjax.training import make_evaluate
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
  """Trains one kind of head with one seed, or finds it trained."""
  words, adjectives = map(len, corpus.vocabulary)

  return runs.fit(
    models.make(config.model, words, adjectives, seed),
    models.Loss(look, config.loss),
    train_batches(corpus.train, config.batch_size, seed),
    # The curve needs no more than 250 sentences; `measure` takes all.
    evaluate=make_evaluate(models.Loss(look, config.loss)).on(
      [jax.device_put(corpus.heldout[:250])]
    ),
    **trial_arguments(
      config,
      experiment="fluffy_creature",
      variant=look,
      seed=seed,
      workdir=workdir,
      data={"corpus": corpus.digest},
    ),
  ).params
