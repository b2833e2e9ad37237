"""Tokens hidden one by one, and how many of them a network guesses right."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from attnjax.data import ReactionVocabulary
from attnjax.models import Albert
from experiments.reaction_mapping import network
from experiments.reaction_mapping.smiles import ARROW, Reaction

__all__ = ["encoded", "filled", "products"]


def encoded(
  vocabulary: ReactionVocabulary, reactions: Sequence[Reaction]
) -> list[np.ndarray]:
  """Token ids of each; what the network never learned is [UNK]."""
  return [vocabulary.encode(one.text, unknown_ok=True) for one in reactions]


def filled(
  model: Albert, vocabulary: ReactionVocabulary, reactions: Sequence[Reaction]
) -> dict[str, list[int]]:
  """Hidden tokens guessed right, and how many there were, of each reaction."""
  rows = encoded(vocabulary, reactions)
  hidden = network.gaps(rows, vocabulary.tokens.index("[MASK]"))
  right = network.guesses(model, hidden) == hidden.answers
  sizes = [len(row) - 2 for row in rows]
  parts = _by_reaction(right, sizes)
  # Without a network: the token that is commonest in all of them.
  common = Counter(np.concatenate([row[1:-1] for row in rows]).tolist())
  token, _ = common.most_common(1)[0]

  return {
    "right": [int(part.sum()) for part in parts],
    "often": [int((row == token).sum()) for row in rows],
    "tokens": sizes,
  }


def products(
  model: Albert, vocabulary: ReactionVocabulary, reactions: Sequence[Reaction]
) -> dict[str, list[int]]:
  """The products' tokens guessed right: reactants seen, and hidden as well.

  What a network fills in because it knows what molecules look like, it fills
  in either way; what it copies from the reactants, only where it sees them.
  """
  rows = encoded(vocabulary, reactions)
  mask = vocabulary.tokens.index("[MASK]")
  arrows = [row.tolist().index(vocabulary.tokens.index(ARROW)) for row in rows]
  blind = [row.copy() for row in rows]

  for row, arrow in zip(blind, arrows, strict=True):
    row[1:arrow] = mask

  found: dict[str, list[int]] = {}
  for name, seen in (("seen", rows), ("hidden", blind)):
    gaps = network.gaps(seen, mask)
    right = network.guesses(model, gaps) == gaps.answers
    parts = _by_reaction(right, [len(row) - 2 for row in rows])
    # The first token is not hidden, so the products' begin at the arrow's own.
    found[name] = [
      int(part[arrow:].sum()) for part, arrow in zip(parts, arrows, strict=True)
    ]

  sizes = [len(row) - 2 - a for row, a in zip(rows, arrows, strict=True)]

  return found | {"tokens": sizes}


def _by_reaction(right: np.ndarray, sizes: Sequence[int]) -> list[np.ndarray]:
  """The guesses, those of each reaction together."""
  return np.split(right, np.cumsum(sizes)[:-1])
