"""Share of atoms mapped as published, by attention heads and by baselines."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from attnjax.data import ReactionVocabulary
from attnjax.models import Albert
from experiments.reaction_mapping import network
from experiments.reaction_mapping.config import MappingConfig
from experiments.reaction_mapping.filling import encoded
from experiments.reaction_mapping.mapping import (
  between_atoms,
  guided,
  largest,
  same_element,
  same_map,
)
from experiments.reaction_mapping.published import Case, Published
from experiments.reaction_mapping.smiles import ARROW, Reaction, read_mapped

__all__ = [
  "head_shares",
  "look",
  "same_order",
  "share_all",
  "shares",
  "shuffled",
  "whole_reactions",
]

_DIRECTIONS = {"to reactants": "forth", "to products": "back", "both": "both"}


def look(
  model: Albert, vocabulary: ReactionVocabulary, cases: Sequence[Case]
) -> list[np.ndarray]:
  """Attention weights ``L H T T`` for the reaction of each case."""
  return network.attention(
    model, encoded(vocabulary, [case.reaction for case in cases])
  )


def share(cases: Sequence[Case], origins: Sequence[np.ndarray]) -> np.ndarray:
  """Share of mapped atoms whose origin is as published.

  Args:
    cases: with the published origins.
    origins: proposed for each case, ``... P``.

  Returns:
    ``...``, in [0, 1], over the atoms of all cases.
  """
  right, atoms = np.zeros(origins[0].shape[:-1]), 0
  for case, origin in zip(cases, origins, strict=True):
    # Atoms without a published origin count neither way.
    mapped = case.origin >= 0
    right = right + ((origin == case.origin) & mapped).sum(-1)
    atoms += mapped.sum()
  return right / atoms


def whole_reactions(
  cases: Sequence[Case], origins: Sequence[np.ndarray]
) -> float:
  """Share of reactions whose entire map is as published, up to symmetry."""
  same = [
    same_map((case.reaction, case.origin), (case.reaction, origin))
    for case, origin in zip(cases, origins, strict=True)
  ]
  return sum(same) / len(same)


def head_shares(
  cases: Sequence[Case],
  weights: Sequence[np.ndarray],
  direction: str = "both",
) -> np.ndarray:
  """Share of atoms right for each head by its argmax, ``L H``."""
  origins = [
    largest(between_atoms(weight, case.reaction, direction), case.reaction)
    for case, weight in zip(cases, weights, strict=True)
  ]
  return share(cases, origins)


def shares(
  config: MappingConfig, cases: Sequence[Case], weights: Sequence[np.ndarray]
) -> dict[str, float]:
  """Share of atoms right by rule: argmax, one-to-one, published procedure."""
  head = [weight[config.layer, config.head] for weight in weights]
  pairs = list(zip(head, cases, strict=True))
  found = {
    f"largest attention {name}": head_shares(cases, head, direction)
    for name, direction in _DIRECTIONS.items()
  }

  rules = {"one to one": 1.0, "the published procedure": config.multiplier}
  for name, multiplier in rules.items():
    origins = [
      guided(between_atoms(w, c.reaction), c.reaction, multiplier).origin
      for w, c in pairs
    ]
    found[name] = share(cases, origins)

  # The origins of the last rule, which is the published procedure.
  same = np.asarray(whole_reactions(cases, origins))
  found["whole reactions, the published procedure"] = same
  heads = head_shares(cases, weights)
  found |= {"best of all heads": heads.max(), "mean of all heads": heads.mean()}

  return {name: float(value) for name, value in found.items()}


def same_order(cases: Sequence[Case]) -> dict[str, float]:
  """Baselines without a network: n-th carbon to n-th carbon; any carbon."""
  chances, atoms = 0.0, 0
  for case in cases:
    mapped = case.origin >= 0
    same = same_element(case.reaction)
    # Expectation, not a draw: of k atoms of that element one in k is right.
    chances += (1 / np.maximum(same.sum(-1), 1))[mapped].sum()
    atoms += mapped.sum()

  ordered = [_in_order(case.reaction) for case in cases]

  return {
    "same element, same order": float(share(cases, ordered)),
    "whole reactions, same order": whole_reactions(cases, ordered),
    "same element, at random": float(chances / atoms),
  }


def _in_order(reaction: Reaction) -> np.ndarray:
  """Origins ``P`` that map the n-th atom of an element to the n-th."""
  before = reaction.reactants.elements
  at = {e: np.flatnonzero(np.array(before) == e) for e in set(before)}
  seen: Counter[str] = Counter()

  origin = []
  for element in reaction.products.elements:
    places = at.get(element, ())
    nth = seen[element]
    origin.append(places[nth] if nth < len(places) else -1)
    seen[element] += 1

  return np.array(origin)


def shuffled(cases: Sequence[Case], seed: int) -> list[Case]:
  """The cases with their reactant molecules permuted, maps adjusted."""
  draws = np.random.default_rng(seed)
  found = []
  for case in cases:
    # The numbers of the mapped text move with the molecules.
    before, after = case.mapped.split(ARROW)
    mapped = ".".join(draws.permutation(before.split("."))) + ARROW + after
    reaction, origin = read_mapped(mapped)
    found.append(case._replace(mapped=mapped, reaction=reaction, origin=origin))
  return found


def share_all(
  config: MappingConfig,
  published: Published,
  known: Sequence[Case],
  weights: Sequence[np.ndarray],
  untrained: Sequence[Albert],
) -> dict[str, list[dict[str, float]]]:
  """Shares of every rule: published weights, shuffled reactants, untrained.

  Returns:
    Condition -> a dict of shares for each repetition.
  """
  vocabulary = published.vocabulary
  moved = [shuffled(known, seed) for seed in range(config.seeds)]

  return {
    "published weights": [shares(config, known, weights) | same_order(known)],
    "reactants shuffled": [
      shares(config, cases, look(published.model, vocabulary, cases))
      | same_order(cases)
      for cases in moved
    ],
    "untrained": [
      shares(config, known, look(model, vocabulary, known))
      for model in untrained
    ],
  }
