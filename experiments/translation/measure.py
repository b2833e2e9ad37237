"""What a model is measured by on the held-out book: loss, BLEU, chrF."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from attnjax.data import Examples, evaluation_batches
from attnjax.data.vocabulary import END, START, encode_pairs
from attnjax.extras import needs_extra
from attnjax.models import translate
from experiments.translation.config import TranslationConfig
from experiments.translation.corpus import Corpus, Side
from experiments.translation.task import Model, evaluate_on

__all__ = ["Measures", "by_length", "measure", "say", "scores", "translations"]

GROUPS = 3  # of verses, by their length


class Measures(NamedTuple):
  """Of one trained model on the test side."""

  parameters: int
  loss: float  # nats a piece
  astray: float  # the same where each verse is given another one's source
  greedy: tuple[float, float]  # BLEU, chrF
  beam: tuple[float, float]
  lengths: list[float]  # chrF of the beam, short verses to long ones
  texts: list[str]  # what the beam says


def measure(
  config: TranslationConfig, corpus: Corpus, model: Model
) -> Measures:
  """Scores a model on the verses of the test side."""
  side = corpus.sides["test"]
  said = {
    beams: translations(config, corpus, model, beams)
    for beams in (1, config.beams)
  }
  references = [target for _, target in side.texts]
  evaluated = lambda buckets: evaluate_on(buckets, config.batch_size)(model)
  best = said[config.beams]

  return Measures(
    sum(x.size for x in jax.tree.leaves(model)),
    evaluated(side.buckets)["loss"],
    evaluated([_astray(b) for b in side.buckets])["loss"],
    scores(said[1], references),
    scores(best, references),
    by_length(side, best),
    best,
  )


def translations(
  config: TranslationConfig, corpus: Corpus, model: Model, beams: int
) -> list[str]:
  """What a model says for each verse of the test side, in its order."""
  found = []
  for bucket in corpus.sides["test"].buckets:
    for batch in evaluation_batches(bucket, config.batch_size):
      tokens = _search(config, model, batch, beams)
      real = batch["weights"].any(-1)
      found += [corpus.target.join(row) for row in tokens[real]]
  return found


def say(
  config: TranslationConfig, corpus: Corpus, model: Model, text: str
) -> str:
  """A sentence of the user's in the other language."""
  source = corpus.source
  anything = corpus.target.vocabulary.symbols[:1]  # it has to say something
  batch = encode_pairs(
    [(source.split(text), anything)],
    source.vocabulary,
    corpus.target.vocabulary,
  )
  (tokens,) = _search(config, model, batch, config.beams)
  return corpus.target.join(tokens)


def _search(
  config: TranslationConfig, model: Model, batch: Any, beams: int
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
    max_length=source.shape[1] + 16,
    length_penalty=config.length_penalty,
  )

  return np.asarray(found.tokens[:, 0])


def _astray(bucket: Examples) -> Examples:
  """Each verse with the source of the one before."""
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
  library = _library()
  bleu = library.corpus_bleu(list(said), [list(references)])
  chrf = library.corpus_chrf(list(said), [list(references)])
  return bleu.score, chrf.score


def by_length(side: Side, said: Sequence[str]) -> list[float]:
  """chrF of the shortest third of the verses, of the next, of the longest."""
  found = []
  for places in length_groups(side):
    references = [side.texts[n][1] for n in places]
    found.append(scores([said[n] for n in places], references)[1])
  return found


def length_groups(side: Side) -> list[np.ndarray]:
  """Places of the verses, in `GROUPS` groups of rising source length."""
  order = np.argsort(side.lengths, kind="stable")
  return [group for group in np.array_split(order, GROUPS) if len(group)]


def _library() -> Any:
  """The `sacrebleu` library, imported when it is needed."""
  with needs_extra("translation", "BLEU and chrF need sacrebleu"):
    import sacrebleu

  return sacrebleu
