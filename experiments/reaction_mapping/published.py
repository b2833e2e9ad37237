"""RXNMapper's published assets: weights, vocabulary, and expected atom maps."""

import re
from typing import NamedTuple

import numpy as np

from attnjax import data
from attnjax.models import Albert, load_albert
from experiments.reaction_mapping.config import MODEL
from experiments.reaction_mapping.smiles import (
  Reaction,
  join_groups,
  read_mapped,
  read_reaction,
)

__all__ = ["Case", "Published", "load"]

# The published program canonicalises each molecule with RDKit, and sorts them.
# We have no RDKit: here are the canonical texts that differ from the given
# ones. Given text -> what the network reads.
_CANONICAL = {
  "C=CCN=C=S.CNCc1ccc(C#N)cc1.NNC(=O)c1cn2c(n1)CCCC2>>"
  "C=CCN1C(C2=CN3CCCCC3=N2)=NN=C1N(C)CC1=CC=C(C#N)C=C1": (
    "C=CCN=C=S.CNCc1ccc(C#N)cc1.NNC(=O)c1cn2c(n1)CCCC2>>"
    "C=CCn1c(-c2cn3c(n2)CCCC3)nnc1N(C)Cc1ccc(C#N)cc1"
  ),
  "CC[O-]~[Na+].BrCC.[Na+]~[H-]>>CCOCC": (
    "CCBr.CC[O-]~[Na+].[H-]~[Na+]>>CCOCC"
  ),
  "CCOCC.[Na+]~[Br-]>>CC[O-]~[Na+].BrCC": (
    "CCOCC.[Br-]~[Na+]>>CCBr.CC[O-]~[Na+]"
  ),
}
# The confidences stand in the source of the authors' tests.
_CONFIDENCE = re.compile(r'"mapped_rxn": "(.+?)",\s*"confidence": ([\d.]+)')


class Case(NamedTuple):
  """A reaction with its published atom map.

  Args:
    mapped: with the numbers of the published map.
    reaction: the same text without its numbers.
    origin: of each product atom, its reactant atom, or -1.
    known: whether the network learned each of its tokens.
    read: the canonical reaction, which the published network reads.
    confidence: of the map, in [0, 1]; None where it is not published.
  """

  mapped: str
  reaction: Reaction
  origin: np.ndarray
  known: bool
  read: Reaction
  confidence: float | None


class Published(NamedTuple):
  """The network, its vocabulary, and reactions with published maps."""

  model: Albert
  vocabulary: data.ReactionVocabulary
  cases: list[Case]


def load() -> Published:
  """Loads the published network and maps, fetching them if they are missing.

  Raises:
    AssetError: they cannot be fetched.
    ValueError: the vocabulary or the weights are not those of the model.
  """
  vocabulary = data.reaction_vocabulary()
  if len(vocabulary.tokens) != MODEL.vocabulary:
    raise ValueError(
      f"vocabulary: expected the {MODEL.vocabulary} tokens that the model"
      f" learned, got {len(vocabulary.tokens)}; get the asset rxnmapper anew"
    )
  model = load_albert(data.reaction_weights(), MODEL)
  return Published(model, vocabulary, _cases(vocabulary))


def _cases(vocabulary: data.ReactionVocabulary) -> list[Case]:
  """Reactions with a published map; two that differ in notation alone are one.

  The authors' tests give some salts both as `|f:...|` and joined by `~`.
  """
  source = data.fetch("rxnmapper") / "tests" / "test_mapper.py"
  confidences = dict(_CONFIDENCE.findall(source.read_text("utf-8")))

  found: dict[str, Case] = {}
  for given, mapped in (
    (one.reaction, one.mapped) for one in data.expected_maps()
  ):
    reaction, origin = read_mapped(mapped)
    read = read_reaction(_CANONICAL.get(given, join_groups(given)))
    unknown = vocabulary.tokens.index("[UNK]")
    ids = vocabulary.encode(reaction.text, unknown_ok=True)
    confidence = confidences.get(mapped)
    case = Case(
      join_groups(mapped),
      reaction,
      origin,
      bool((ids != unknown).all()),
      read,
      None if confidence is None else float(confidence),
    )
    found.setdefault(reaction.text, case)

  return list(found.values())
