"""Models, teacher-forced loss, bucketed batches, and training of one run."""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import jax
import numpy as np
from flax import nnx

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
  """A new model: the transformer, or the RNN with or without attention."""
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
  """(summed cross-entropy, nats; its weight) of target pieces and the end."""
  logits = model(
    batch["source"],
    batch["inputs"],
    source_lengths=batch["source_lengths"],
    dropout_key=key,
  )
  return training.cross_entropy(logits, batch["targets"], batch["weights"])


@dataclasses.dataclass(frozen=True, eq=False)
class Bucketed:
  """`batches(step)`: rows of one bucket, drawn in proportion to its size.

  A round has a batch for every `batch_size` rows of each bucket. The order of
  buckets is drawn anew each round.
  """

  buckets: Sequence[Examples]
  batch_size: int
  seed: int

  def __call__(self, step: int) -> dict[str, np.ndarray]:
    """The batch of one step; steps count from 0."""
    turn, place = divmod(step, sum(self._counts))
    order = self._order(turn)
    bucket = int(order[place])
    # A step reads its bucket's stream where earlier steps left it.
    before = int((order[:place] == bucket).sum())
    return self._streams[bucket](turn * self._counts[bucket] + before)

  @functools.cached_property
  def _counts(self) -> list[int]:
    """Batches of each bucket in a round; one at least."""
    return [max(1, round(len(b) / self.batch_size)) for b in self.buckets]

  @functools.cached_property
  def _streams(self) -> list[Callable[[int], dict[str, np.ndarray]]]:
    """The shuffled batches of each bucket, step -> batch."""
    return [train_batches(b, self.batch_size, self.seed) for b in self.buckets]

  def _order(self, turn: int) -> np.ndarray:
    """Bucket numbers of the steps of one round, shuffled."""
    draws = np.random.default_rng((self.seed, turn))
    labels = np.repeat(np.arange(len(self._counts)), self._counts)
    return draws.permutation(labels)


def evaluate_on(
  buckets: Sequence[Examples], batch_size: int
) -> Callable[[Model], dict[str, float]]:
  """A function from a model to its metrics on every row of the buckets."""
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
  """Trains one variant with one seed, or finds it trained."""
  splits = corpus.splits

  return runs.fit(
    make(config, corpus, variant, seed),
    loss,
    Bucketed(splits["train"].buckets, config.batch_size, seed),
    evaluate=evaluate_on(splits["validation"].buckets, config.batch_size),
    **runs.trial_arguments(
      config,
      experiment="translation",
      variant=variant,
      seed=seed,
      workdir=workdir,
      data={"corpus": corpus.digest},
    ),
  )
