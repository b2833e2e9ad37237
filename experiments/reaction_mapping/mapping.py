"""Atom maps from attention weights: argmax, RXNMapper's greedy procedure."""

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
  """Map of product atoms to reactant atoms, with a confidence each, ``P``.

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
    reaction: whose tokens the weights are over.
    direction: "forth", of product atoms to reactant atoms; "back", of reactant
      atoms to product atoms; "both", their sum, as the published program does.
  """
  before, after = reaction.reactants.places, reaction.products.places
  forth = weights[..., after[:, None], before[None]]
  back = weights[..., before[None], after[:, None]]
  return {"forth": forth, "back": back, "both": forth + back}[direction]


def same_element(reaction: Reaction) -> np.ndarray:
  """Bool ``P R``: whether a product and a reactant atom are of one element."""
  after, before = (
    np.array(side.elements) for side in (reaction.products, reaction.reactants)
  )
  return after[:, None] == before[None]


def largest(attention: np.ndarray, reaction: Reaction) -> np.ndarray:
  """Argmax of attention over reactant atoms of the same element, ``... P``.

  -1 where no reactant atom is of that element.
  """
  same = same_element(reaction)
  found = np.where(same, attention, -1.0).argmax(-1)
  return np.where(same.any(-1), found, -1)


def guided(
  attention: np.ndarray, reaction: Reaction, multiplier: float = 90.0
) -> AtomMap:
  """RXNMapper's greedy one-to-one assignment, guided by neighbours.

  Each step maps the product atom with the largest normalised attention to one
  reactant atom. Both atoms are then taken, and attention between their
  neighbours is multiplied, so that bonded atoms are mapped together.

  Args:
    attention: ``P R``, at least 0.
    reaction: elements and bonds of the atoms.
    multiplier: factor of the attention between neighbours; 1 ignores bonds.

  Reference:
    Schwaller et al., "Extraction of organic chemistry grammar from unsupervised
    learning of chemical reactions", 2021.
  """
  # float64: one entry may be multiplied by 90 several times.
  scores = np.where(same_element(reaction), attention, 0.0).astype(np.float64)
  origin = np.full(len(scores), -1)
  # 1 where no atom is found: the confidence of a map is a product.
  confidence = np.ones(len(scores))

  for _ in origin:
    totals = scores.sum(-1, keepdims=True)
    shares = scores / np.where(totals == 0, 1, totals)
    product, reactant = np.unravel_index(shares.argmax(), shares.shape)
    if np.isclose(shares[product, reactant], 0):
      break  # the atoms left over have no reactant atom of their element
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
  """Whether two maps are isomorphic: Weisfeiler-Leman colour refinement.

  Atoms may come in any order, and equivalent atoms, such as the two ends of an
  ether, may be swapped. Bonds and origins are the edges.

  Args:
    one: a reaction and, of each product atom, its reactant atom or -1.
    other: the same of the other map.

  Reference:
    Weisfeiler, Leman, "The reduction of a graph to canonical form and the
    algebra which appears therein", 1968.
  """
  return _colours(*one) == _colours(*other)


def _colours(reaction: Reaction, origin: np.ndarray) -> list[str]:
  """Sorted Weisfeiler-Leman colours of all atoms of a mapped reaction."""
  sides = reaction.reactants, reaction.products
  count = len(sides[0].elements)
  colours = [f"{n}{e}" for n, side in enumerate(sides) for e in side.elements]
  pairs = [(a, b) for a, b in np.argwhere(sides[0].bonds)]
  pairs += [(a + count, b + count) for a, b in np.argwhere(sides[1].bonds)]
  came = [(p + count, r) for p, r in enumerate(origin) if r >= 0]

  # As many rounds as atoms: a colour then depends on its whole component.
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
    # A digest, not a number of this reaction: two reactions are compared.
    colours = [hashlib.sha256(c.encode()).hexdigest() for c in longer]

  return sorted(colours)
