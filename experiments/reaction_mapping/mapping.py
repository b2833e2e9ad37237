"""From the attention of a head to a map of atoms."""

import hashlib
from typing import NamedTuple

import numpy as np

from experiments.reaction_mapping.smiles import Reaction

__all__ = [
  "AtomMap",
  "between_atoms",
  "guided",
  "largest",
  "same_element",
  "same_map",
]


class AtomMap(NamedTuple):
  """Of each product atom: the reactant atom it comes from, and how surely.

  Args:
    origin: index of a reactant atom; -1 for none.
    confidence: the share of the attention that this atom got when it was
      chosen.
  """

  origin: np.ndarray
  confidence: np.ndarray


def between_atoms(
  weights: np.ndarray, reaction: Reaction, direction: str = "both"
) -> np.ndarray:
  """Attention between product atoms (rows) and reactant atoms, ``... P R``.

  Args:
    weights: ``... T T`` of any heads.
    reaction: what was read.
    direction: "forth", of product atoms to reactant atoms; "back", of reactant
      atoms to product atoms; "both", their sum, as the published program does.
  """
  before, after = reaction.reactants.places, reaction.products.places
  forth = weights[..., after[:, None], before[None]]
  back = weights[..., before[None], after[:, None]]
  return {"forth": forth, "back": back, "both": forth + back}[direction]


def same_element(reaction: Reaction) -> np.ndarray:
  """Bool ``P R``: an atom does not become another element."""
  after, before = (
    np.array(side.elements) for side in (reaction.products, reaction.reactants)
  )
  return after[:, None] == before[None]


def largest(attention: np.ndarray, reaction: Reaction) -> np.ndarray:
  """The reactant atom of the same element with most attention, ``... P``.

  -1 where no reactant atom is of that element.
  """
  same = same_element(reaction)
  found = np.where(same, attention, -1.0).argmax(-1)
  return np.where(same.any(-1), found, -1)


def guided(
  attention: np.ndarray, reaction: Reaction, multiplier: float = 90.0
) -> AtomMap:
  """The published procedure: the surest atom first, then near it.

  Each time the product atom whose share of attention at one reactant atom is
  largest is mapped there; then neither is free, and the attention between the
  neighbours of the one and of the other counts `multiplier` times.

  Reference:
    Schwaller et al., "Extraction of organic chemistry grammar from unsupervised
    learning of chemical reactions", 2021.
  """
  scores = np.where(same_element(reaction), attention, 0.0).astype(np.float64)
  origin = np.full(len(scores), -1)
  confidence = np.ones(len(scores))

  for _ in origin:
    totals = scores.sum(-1, keepdims=True)
    shares = scores / np.where(totals == 0, 1, totals)
    product, reactant = np.unravel_index(shares.argmax(), shares.shape)
    if np.isclose(shares[product, reactant], 0):
      break  # what is left has no atom to come from
    origin[product] = reactant
    confidence[product] = shares[product, reactant]
    near = np.ix_(
      reaction.products.bonds[product], reaction.reactants.bonds[reactant]
    )
    scores[near] *= multiplier
    scores[product] = 0
    scores[:, reactant] = 0

  return AtomMap(origin, confidence)


def same_map(
  one: tuple[Reaction, np.ndarray], other: tuple[Reaction, np.ndarray]
) -> bool:
  """Whether two maps (a reaction, the origins) are one but for symmetry.

  The atoms may come in any order, and atoms that cannot be told apart, such as
  the two ends of an ether, may change places: compared are the atoms' colours
  after each has told its neighbours, and its origin, what it is (Weisfeiler,
  Leman, 1968).
  """
  return _colours(*one) == _colours(*other)


def _colours(reaction: Reaction, origin: np.ndarray) -> list[str]:
  """A name of each atom by all that surrounds it, sorted."""
  sides = reaction.reactants, reaction.products
  count = len(sides[0].elements)
  colours = [f"{n}{e}" for n, side in enumerate(sides) for e in side.elements]
  pairs = [(a, b) for a, b in np.argwhere(sides[0].bonds)]
  pairs += [(a + count, b + count) for a, b in np.argwhere(sides[1].bonds)]
  came = [(p + count, r) for p, r in enumerate(origin) if r >= 0]

  for _ in colours:
    said: list[list[str]] = [[] for _ in colours]
    for a, b in pairs:
      said[a].append("bond" + colours[b])
    for product, reactant in came:
      said[product].append("from" + colours[reactant])
      said[reactant].append("to" + colours[product])
    longer = [
      c + "".join(sorted(s)) for c, s in zip(colours, said, strict=True)
    ]
    # Long names get short ones, the same in every reaction.
    colours = [hashlib.sha256(c.encode()).hexdigest() for c in longer]

  return sorted(colours)
