"""Words given by flag: their predicted phonemes and alignment figures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from attnjax import viz
from attnjax.data import GRAPHEMES
from attnjax.data.vocabulary import START
from attnjax.runs import table
from experiments.pronunciation.config import PronunciationConfig
from experiments.pronunciation.measure import Speaker, ours, say
from experiments.pronunciation.report import NAMES
from experiments.pronunciation.task import PHONEMES, Data

__all__ = ["attention_page", "draw_alignments", "words_table"]

Speakers = Mapping[str, Sequence[Speaker]]


def words_table(
  config: PronunciationConfig, data: Data, speakers: Speakers
) -> str:
  """Table of the phonemes that each network's first seed predicts by beam."""
  said = [
    say(seeds[0], config.words, config.beams) for seeds in speakers.values()
  ]
  where = [data.splits.get(word, "in no dictionary") for word in config.words]
  columns = ["word", "split", *speakers]
  phonemes = [[" ".join(one) for one in every] for every in said]
  rows = list(zip(config.words, where, *phonemes, strict=True))
  return "\n" + table(columns, rows)


def draw_alignments(
  config: PronunciationConfig, workdir: Path, speakers: Speakers
) -> list[Path]:
  """Draws attention of phonemes over letters, a figure a word.

  All networks with attention are given the phonemes that the first of them
  predicts, so that their panels have the same rows.
  """
  # A fixed vector has no weights to draw.
  looking = [NAMES[v] for v in config.variants if v != "none"]
  if not looking:
    return []

  models = [speakers[name][0].model for name in looking]
  said = say(speakers[looking[0]][0], config.words, config.beams)

  return [
    viz.save_attention(
      # chr(39) is the apostrophe, as in "don't".
      workdir / f"alignment_{word.replace(chr(39), '_')}.png",
      np.stack([alignment(model, word, phonemes) for model in models]),
      [*phonemes, "end"],
      list(word),
      titles=looking,
      columns=len(looking),
    )
    for word, phonemes in zip(config.words, said, strict=True)
  ]


def attention_page(
  config: PronunciationConfig, models: Mapping[str, Any]
) -> viz.Page:
  """A page of the first word: phonemes over its letters, models side by side.

  All are given the phonemes that the first of them predicts.
  """
  word = config.words[0]
  (phonemes,) = say(ours(next(iter(models.values()))), [word], config.beams)
  source, target = _encoded(word, phonemes)
  # A call of one query a step, which a page of one letter would not join.
  captured = {
    name: viz.joined(viz.capture(model, source, target))
    for name, model in models.items()
  }
  return viz.page(
    captured, [*phonemes, "end"], list(word), title=f"pronunciation: {word}"
  )


def alignment(model, word: str, phonemes: Sequence[str]) -> np.ndarray:
  """Attention weights ``T S`` of each phoneme, and of the end, over letters."""
  _, aux = _look(model, *_encoded(word, phonemes))
  return np.asarray(aux.weights)[0, 0]


def _encoded(word: str, phonemes: Sequence[str]) -> tuple[jax.Array, jax.Array]:
  """Letters, and the phonemes after a start, of a batch of one."""
  return (
    jnp.asarray([GRAPHEMES.encode(word)], jnp.int32),
    jnp.asarray([[START, *PHONEMES.encode(phonemes)]], jnp.int32),
  )


@jax.jit
def _look(model, source, target):
  """Teacher-forced logits, and the decoder's attention weights."""
  return model(source, target, aux=("weights",))
