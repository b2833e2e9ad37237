"""Masked-token recovery: each token masked in turn, and how many are right."""

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
  """Token ids of each reaction; tokens outside the vocabulary are [UNK]."""
  return [vocabulary.encode(one.text, unknown_ok=True) for one in reactions]


def filled(
  model: Albert, vocabulary: ReactionVocabulary, reactions: Sequence[Reaction]
) -> dict[str, list[int]]:
  """Counts of tokens recovered when masked one at a time, for each reaction.

  Returns:
    `right`: tokens that the model recovers; `often`: tokens that "always the
    commonest token" recovers; `tokens`: tokens that were masked.
  """
  rows = encoded(vocabulary, reactions)
  hidden = network.gaps(rows, vocabulary.tokens.index("[MASK]"))
  right = network.guesses(model, hidden) == hidden.answers
  sizes = [len(row) - 2 for row in rows]
  parts = _by_reaction(right, sizes)

  # Baseline without a network: always the commonest token of all reactions.
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
  """Counts of product tokens recovered with the reactants seen, and masked.

  Knowledge of what molecules look like helps in both conditions; copying from
  the reactants only where they are seen.

  Returns:
    `seen`, `hidden` and `tokens`, a count a reaction each.
  """
  rows = encoded(vocabulary, reactions)
  mask = vocabulary.tokens.index("[MASK]")
  arrows = [row.tolist().index(vocabulary.tokens.index(ARROW)) for row in rows]
  blind = [row.copy() for row in rows]

  for row, arrow in zip(blind, arrows, strict=True):
    # From 1: [CLS] stays.
    row[1:arrow] = mask

  found: dict[str, list[int]] = {}
  for name, seen in (("seen", rows), ("hidden", blind)):
    gaps = network.gaps(seen, mask)
    right = network.guesses(model, gaps) == gaps.answers
    parts = _by_reaction(right, [len(row) - 2 for row in rows])
    # [CLS] is never masked, so `part` lacks one place at the front: the slice
    # from the arrow's index on is what follows the arrow.
    found[name] = [
      int(part[arrow:].sum()) for part, arrow in zip(parts, arrows, strict=True)
    ]

  # Neither [CLS] nor [SEP] is masked.
  sizes = [len(row) - 2 - a for row, a in zip(rows, arrows, strict=True)]

  return found | {"tokens": sizes}


def _by_reaction(right: np.ndarray, sizes: Sequence[int]) -> list[np.ndarray]:
  """Splits one flat array of guesses into an array a reaction."""
  return np.split(right, np.cumsum(sizes)[:-1])
