"""The variants, their loss, their batches and one training run."""

import dataclasses
import functools
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from attnjax import config as configs
from attnjax import runs, training
from attnjax.data import Examples, evaluation_batches, train_batches
from attnjax.models import EncoderDecoder, Seq2Seq
from experiments.translation.config import TranslationConfig
from experiments.translation.corpus import Corpus

__all__ = ["Bucketed", "Model", "evaluate_on", "fit", "loss", "make"]

Model = EncoderDecoder | Seq2Seq


def make(
  config: TranslationConfig, corpus: Corpus, variant: str, seed: int
) -> Model:
  """A new model of a variant of the config."""
  sizes = len(corpus.source.vocabulary), len(corpus.target.vocabulary)
  rnn = config.rnn
  if variant == "fixed":
    rnn = dataclasses.replace(rnn, attention="none")

  def build() -> Model:
    rngs = nnx.Rngs(seed)
    if variant == "transformer":
      return EncoderDecoder(config.transformer, *sizes, rngs=rngs)
    return Seq2Seq(rnn, *sizes, rngs=rngs)

  return jax.jit(build)()


def loss(model: Model, batch: Mapping, key):
  """(nats, pieces) of every target piece and its end, teacher forced."""
  logits = model(
    batch["source"],
    batch["inputs"],
    source_lengths=batch["source_lengths"],
    dropout_key=key,
  )
  return training.cross_entropy(logits, batch["targets"], batch["weights"])


@dataclasses.dataclass(frozen=True, eq=False)
class Bucketed:
  """`batches(step)`: rows of one bucket, each bucket as often as it is large.

  A round has a batch of a bucket for every `batch_size` of its rows, in an
  order drawn anew each round.
  """

  buckets: Sequence[Examples]
  batch_size: int
  seed: int

  def __call__(self, step: int) -> dict[str, np.ndarray]:
    """The batch of one step; steps count from 0."""
    turn, place = divmod(step, sum(self._counts))
    order = self._order(turn)
    bucket = int(order[place])
    before = int((order[:place] == bucket).sum())
    return self._streams[bucket](turn * self._counts[bucket] + before)

  @functools.cached_property
  def _counts(self) -> list[int]:
    """Batches of each bucket in a round."""
    return [max(1, round(len(b) / self.batch_size)) for b in self.buckets]

  @functools.cached_property
  def _streams(self) -> list[Any]:
    """The batches of each bucket."""
    return [train_batches(b, self.batch_size, self.seed) for b in self.buckets]

  def _order(self, turn: int) -> np.ndarray:
    """The buckets of one round."""
    draws = np.random.default_rng((self.seed, turn))
    labels = np.repeat(np.arange(len(self._counts)), self._counts)
    return draws.permutation(labels)


def evaluate_on(buckets: Sequence[Examples], batch_size: int):
  """`params -> metrics` on every row of the buckets."""
  batches = (evaluation_batches(b, batch_size) for b in buckets)
  return training.make_evaluate(loss).on(
    list(itertools.chain.from_iterable(batches))
  )


def fit(
  config: TranslationConfig,
  corpus: Corpus,
  variant: str,
  seed: int,
  workdir: Path,
) -> runs.Fitted:
  """Trains a variant, or finds it trained."""
  run = f"{variant}/seed{seed}"
  leaves = configs.decisive(config)

  for name in ("variants", "text", "beams", "length_penalty", "seeds"):
    del leaves[name]  # these come after training

  sides = corpus.sides

  return runs.fit(
    make(config, corpus, variant, seed),
    loss,
    Bucketed(sides["train"].buckets, config.batch_size, seed),
    workdir=workdir / run,
    experiment="translation",
    identity=leaves | {"run": run, "corpus": corpus.digest},
    optimizer=config.optimizer,
    train=configs.replace_leaves(
      config.train, {"seed": config.train.seed + seed}
    ),
    evaluate=evaluate_on(sides["validation"].buckets, config.batch_size),
  )
