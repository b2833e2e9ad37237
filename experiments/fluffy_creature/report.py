"""Tables and the figure of the fluffy-creature experiment."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from attnjax import viz
from attnjax.runs import spread, table
from attnjax.viz import save_attention
from experiments.fluffy_creature import hand
from experiments.fluffy_creature.corpora import Corpus
from experiments.fluffy_creature.grammar import SENTENCE
from experiments.fluffy_creature.measure import Measures, context_shift
from experiments.fluffy_creature.model import OneHead
from experiments.fluffy_creature.sentences import (
  Sentence,
  Vocabulary,
  encode,
)

__all__ = [
  "attention_page",
  "by_hand",
  "draw",
  "hand_table",
  "measures_table",
  "shift_table",
]


def by_hand() -> hand.HandBuilt:
  """Runs the hand-built head on the example sentence."""
  adjectives = [p for places in SENTENCE.nouns.values() for p in places]
  return hand.build(SENTENCE.words, list(SENTENCE.nouns), adjectives)


def hand_table(built: hand.HandBuilt) -> str:
  """Table of each noun's attention mass, and the words it moved towards."""
  rows = []
  for noun, places in SENTENCE.nouns.items():
    moved = built.refined[noun] - built.embedding[noun]
    along = {w: float(moved @ built.direction(w)) for w in built.words}
    near = sorted(along, key=along.__getitem__, reverse=True)
    mass = float(built.weights[noun, jnp.array(places)].sum())
    words = [f"{w} {along[w]:.3f}" for w in near[:3]]
    rows.append([built.words[noun], f"{mass:.4f}", *words])

  columns = ["noun", "mass on its adjectives", *["moved along"] * 3]
  return "\nbuilt by hand\n\n" + table(columns, rows)


def measures_table(found: dict[str, list[Measures]]) -> str:
  """Table of mass and accuracy by kind of head and number of adjectives."""
  columns = ["", "adjectives", "nouns", "mass on them", "reported exactly"]
  rows = []
  for look, runs in found.items():
    for n in np.flatnonzero(runs[0].nouns):
      # Nouns without adjectives have nothing to attend to.
      mass = spread([run.mass[n] for run in runs]) if n else "-"
      exact = spread([run.exact[n] for run in runs])
      rows.append([look, n, runs[0].nouns[n], mass, exact])

  lines = [
    f"{look}: largest weight on a later word"
    f" {max(run.later for run in runs)}, cosine of E' - E and the directions of"
    f" the adjectives {spread([run.along for run in runs])}"
    for look, runs in found.items()
  ]

  return (
    "\nheld-out nouns\n\n" + table(columns, rows) + "\n\n" + "\n".join(lines)
  )


def shift_table(
  model: OneHead, vocabulary: Vocabulary, pairs: list[tuple[str, str, int]]
) -> str:
  """Table of one word in two contexts: cosine distances before and after."""
  rows = []
  for first, second, place in pairs:
    split = [Sentence(tuple(text.split()), {}) for text in (first, second)]
    rows_of = encode(split, vocabulary, max(len(s.words) for s in split))
    tokens = jnp.asarray(rows_of.arrays["tokens"])
    before, after = context_shift(model, tokens, place, "head")
    rows.append([first, second, f"{before:.3f}", f"{after:.3f}"])

  return "\none word, two contexts\n\n" + table(
    ["here", "there", "before", "after"], rows
  )


def draw(
  workdir: Path,
  model: OneHead,
  vocabulary: Vocabulary,
  shown: Sentence,
  built: hand.HandBuilt,
) -> Path:
  """Draws attention weights, queries as columns: trained, and by hand.

  The hand-built pattern is shown where it is of the same sentence.
  """
  tokens = encode([shown], vocabulary, len(shown.words)).arrays["tokens"]
  _, _, weights = jax.jit(model)(jnp.asarray(tokens))
  patterns = {"trained": np.asarray(weights[0])}
  if shown.words == built.words:
    patterns = {"built by hand": np.asarray(built.weights), **patterns}

  return save_attention(
    workdir / "pattern.png",
    np.stack(list(patterns.values())),
    shown.words,
    layout="columns",
    titles=list(patterns),
    columns=len(patterns),
  )


def attention_page(
  heads: Mapping[str, OneHead], corpus: Corpus, built: hand.HandBuilt
) -> viz.Page:
  """A page of one sentence, side by side: trained heads, and by hand.

  The hand-built pattern is shown where it is of the same sentence.
  """
  shown = corpus.shown
  arrays = encode([shown], corpus.vocabulary, len(shown.words)).arrays
  tokens = jnp.asarray(arrays["tokens"])
  models: dict[str, Any] = {
    look: viz.capture(head, tokens, look) for look, head in heads.items()
  }
  if shown.words == built.words:
    models["built by hand"] = np.asarray(built.weights)[None]

  return viz.page(
    models,
    shown.words,
    title="fluffy_creature: nouns attend to their adjectives",
  )
