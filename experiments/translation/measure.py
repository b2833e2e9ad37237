"""Loss, BLEU and chrF of a model on the test split."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from attnjax.data import Examples, evaluation_batches
from attnjax.data.vocabulary import END, START, encode_pairs
from attnjax.extras import needs_extra
from attnjax.models import translate
from experiments.translation.config import TranslationConfig
from experiments.translation.corpus import Corpus, Split
from experiments.translation.task import Model, evaluate_on

__all__ = ["Measures", "by_length", "measure", "say", "scores", "translations"]

GROUPS = 3  # of verses, by source length


class Measures(NamedTuple):
  """Measures of one trained model on the test split."""

  parameters: int
  loss: float  # nats a piece
  astray: float  # loss given the source of another verse: control
  greedy: tuple[float, float]  # BLEU, chrF
  beam: tuple[float, float]
  lengths: list[float]  # chrF of the beam by length group, shortest first
  texts: list[str]  # translations by the beam


def measure(
  config: TranslationConfig, corpus: Corpus, model: Model
) -> Measures:
  """Scores a model on the test split, greedily and by beam search."""
  split = corpus.splits["test"]
  said = {
    beams: translations(config, corpus, model, beams)
    for beams in (1, config.beams)
  }
  references = [target for _, target in split.texts]
  evaluated = lambda buckets: evaluate_on(buckets, config.batch_size)(model)
  best = said[config.beams]

  return Measures(
    sum(x.size for x in jax.tree.leaves(model)),
    evaluated(split.buckets)["loss"],
    evaluated([_astray(b) for b in split.buckets])["loss"],
    scores(said[1], references),
    scores(best, references),
    by_length(split, best),
    best,
  )


def translations(
  config: TranslationConfig, corpus: Corpus, model: Model, beams: int
) -> list[str]:
  """Translations of the test split, in the order of its texts."""
  found = []
  for bucket in corpus.splits["test"].buckets:
    for batch in evaluation_batches(bucket, config.batch_size):
      tokens = _search(config, model, batch, beams)
      # Rows that only fill the last batch have no weight.
      real = batch["weights"].any(-1)
      found += [corpus.target.join(row) for row in tokens[real]]
  return found


def say(
  config: TranslationConfig, corpus: Corpus, model: Model, text: str
) -> str:
  """Translates one sentence by beam search."""
  source = corpus.source
  # `encode_pairs` wants a target; the search does not read it.
  anything = corpus.target.vocabulary.symbols[:1]
  batch = encode_pairs(
    [(source.split(text), anything)],
    source.vocabulary,
    corpus.target.vocabulary,
  )
  (tokens,) = _search(config, model, batch, config.beams)
  return corpus.target.join(tokens)


def _search(
  config: TranslationConfig,
  model: Model,
  batch: Mapping[str, np.ndarray],
  beams: int,
) -> np.ndarray:
  """The best hypothesis of each row, int ``B N``."""
  source = jnp.asarray(batch["source"])
  found = translate(
    model,
    source,
    jnp.asarray(batch["source_lengths"]),
    beams=beams,
    start=START,
    end=END,
    # A translation may be longer than its source, but not without end.
    max_length=source.shape[1] + 16,
    length_penalty=config.length_penalty,
  )

  return np.asarray(found.tokens[:, 0])


def _astray(bucket: Examples) -> Examples:
  """Pairs each verse with the source of the row before, as a control."""
  moved = {
    name: np.roll(bucket.arrays[name], 1, axis=0)
    for name in ("source", "source_lengths")
  }
  return Examples({**bucket.arrays, **moved})


def scores(
  said: Sequence[str], references: Sequence[str]
) -> tuple[float, float]:
  """BLEU and chrF of a corpus, 0 to 100, as sacrebleu defines them.

  Raises:
    ImportError: sacrebleu is missing.

  >>> [round(x) for x in scores(["Y lloró Jesús."], ["Y lloró Jesús."])]
  [100, 100]
  """
  with needs_extra("translation", "BLEU and chrF need sacrebleu"):
    import sacrebleu

  # sacrebleu takes a list of references for each of several reference sets.
  bleu = sacrebleu.corpus_bleu(list(said), [list(references)])
  chrf = sacrebleu.corpus_chrf(list(said), [list(references)])
  return bleu.score, chrf.score


def by_length(split: Split, said: Sequence[str]) -> list[float]:
  """chrF of each group of `length_groups`."""
  found = []
  for places in length_groups(split):
    references = [split.texts[n][1] for n in places]
    found.append(scores([said[n] for n in places], references)[1])
  return found


def length_groups(split: Split) -> list[np.ndarray]:
  """Indices of the verses in `GROUPS` equal groups of rising source length."""
  order = np.argsort(split.lengths, kind="stable")
  # Of fewer verses than groups some groups are empty.
  return [group for group in np.array_split(order, GROUPS) if len(group)]
