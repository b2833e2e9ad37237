"""Reactions as SMILES, and the published transformer that maps their atoms.

A reaction is written `reactants>>products`, each molecule as a string of atoms
and bonds. `rxnmapper` is an ALBERT that was trained to fill in masked tokens;
one of its heads attends from each atom of the product to the atom that it came
from. A mapped reaction numbers its atoms: `[CH3:1]` is atom 1 on both sides.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from attnjax.data.assets import fetch
from attnjax.data.torch_archive import read_torch_archive

__all__ = [
  "SPECIAL_TOKENS",
  "MappedReaction",
  "ReactionVocabulary",
  "expected_maps",
  "reaction_vocabulary",
  "reaction_weights",
  "smiles_tokens",
]


# The expression of the paper, see `smiles_tokens`.
_TOKEN = re.compile(
  r"\[[^\]]+]|Br?|Cl?|N|O|S|P|F|I|b|c|n|o|s|p|\(|\)|\.|=|#|-|\+|\\|/|:|~|@|\?"
  r"|>>?|\*|\$|%[0-9]{2}|[0-9]"
)
_MODEL = "rxnmapper/models/transformers/albert_heads_8_uspto_all_1310k"
# The wheel contains the tests of its program, which state expected maps: these
# are read without running it.
_TESTS = ("tests/test_mapper.py", "tests/test_batched_mapper.py")
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def smiles_tokens(smiles: str) -> list[str]:
  """The tokens of a molecule or a reaction: atoms, bonds, rings, brackets.

  Args:
    smiles: SMILES without spaces.

  Returns:
    The tokens; joined, they are the string again.

  Raises:
    ValueError: a character is part of no token.

  Reference: Philippe Schwaller et al., "Molecular Transformer: A Model for
  Uncertainty-Calibrated Chemical Reaction Prediction", 2019, arXiv:1811.02633.

  >>> smiles_tokens("CC[O-].BrC>>CCOC")
  ['C', 'C', '[O-]', '.', 'Br', 'C', '>>', 'C', 'C', 'O', 'C']
  """
  tokens = _TOKEN.findall(smiles)
  # findall passes over characters that no token matches.
  if not tokens or "".join(tokens) != smiles:
    rest = _TOKEN.sub("", smiles)
    raise ValueError(
      f"smiles={smiles!r:.80}: expected SMILES, one token or more; left over:"
      f" {rest!r:.40}."
    )
  return tokens


@dataclass(frozen=True)
class ReactionVocabulary:
  """The tokens of the published model; the line of a token is its id.

  >>> vocabulary = ReactionVocabulary((*SPECIAL_TOKENS, "C", ">>"))
  >>> vocabulary.encode("C>>C").tolist()
  [2, 5, 6, 5, 3]
  """

  tokens: tuple[str, ...]

  def __post_init__(self):
    """Checks that every token has one id, and that the special ones are in."""
    missing = set(SPECIAL_TOKENS) - set(self.tokens)
    if missing or len(set(self.tokens)) != len(self.tokens):
      raise ValueError(
        "tokens: expected each once, and all of"
        f" {SPECIAL_TOKENS}; missing: {sorted(missing)}."
      )

  def encode(self, smiles: str, *, unknown_ok: bool = False) -> np.ndarray:
    """The ids of a reaction, int32, between [CLS] and [SEP].

    Raises ValueError for a token that the model never learned, unless
    `unknown_ok`: then it is [UNK], as the published program has it.
    """
    ids = {token: number for number, token in enumerate(self.tokens)}
    tokens = ["[CLS]", *smiles_tokens(smiles), "[SEP]"]

    if unknown_ok:
      tokens = [token if token in ids else "[UNK]" for token in tokens]

    if unknown := [token for token in tokens if token not in ids]:
      raise ValueError(
        f"smiles={smiles!r:.80}: {unknown[0]!r} is none of the"
        f" {len(self.tokens)} tokens of the model; leave this reaction out, or"
        " set unknown_ok."
      )

    return np.array([ids[token] for token in tokens], np.int32)


@dataclass(frozen=True)
class MappedReaction:
  """A reaction and its atom map by the published program.

  >>> MappedReaction("C>>C", "[CH4:1]>>[CH4:1]").mapped
  '[CH4:1]>>[CH4:1]'
  """

  reaction: str
  mapped: str


def reaction_vocabulary(path: Path | None = None) -> ReactionVocabulary:
  """The 591 tokens of the published model.

  Args:
    path: vocab.txt, a token a line; None: the asset "rxnmapper".

  Returns:
    The vocabulary.

  Raises:
    ValueError: a token comes twice, or a special one is missing.
    AssetError: the asset is not available.

  >>> from pathlib import Path
  >>> reaction_vocabulary(Path("none.txt"))
  Traceback (most recent call last):
    ...
  FileNotFoundError: [Errno 2] No such file or directory: 'none.txt'
  """
  path = path or fetch("rxnmapper") / _MODEL / "vocab.txt"
  return ReactionVocabulary(tuple(path.read_text("utf-8").splitlines()))


def reaction_weights(path: Path | None = None) -> dict[str, np.ndarray]:
  """The published weights: 32 float32 arrays by the names of its author.

  Args:
    path: pytorch_model.bin; None: the asset "rxnmapper".

  Returns:
    Name -> array: an embedding of width 128, a map to 256, one layer of eight
    heads and a feed-forward of 512 that is used twelve times, a masked-token
    head. Matrices are [out, in].

  Raises:
    ValueError: the file is no whole file of weights.
    AssetError: the asset is not available.

  Reference: Philippe Schwaller et al., "Extraction of organic chemistry grammar
  from unsupervised learning of chemical reactions", 2021; Zhenzhong Lan et al.,
  "ALBERT: A Lite BERT for Self-supervised Learning of Language
  Representations", 2020, arXiv:1909.11942.

  >>> from pathlib import Path
  >>> reaction_weights(Path("none.bin"))
  Traceback (most recent call last):
    ...
  FileNotFoundError: [Errno 2] No such file or directory: 'none.bin'
  """
  return read_torch_archive(
    path or fetch("rxnmapper") / _MODEL / "pytorch_model.bin"
  )


def expected_maps(root: Path | None = None) -> list[MappedReaction]:
  """Atom maps that the tests of the published program expect.

  They are read off the tests' source as literals; nothing of it is run.

  Args:
    root: the unpacked wheel; None: the asset "rxnmapper".

  Returns:
    Each reaction once, in the order of the tests.

  Raises:
    ValueError: the tests hold no expected map.
    AssetError: the asset is not available.

  >>> from pathlib import Path
  >>> expected_maps(Path("nowhere"))
  Traceback (most recent call last):
    ...
  FileNotFoundError: [Errno 2] No such file or directory: ...
  """
  root = root or fetch("rxnmapper")
  found: dict[str, MappedReaction] = {}

  for name in _TESTS:
    source = (root / name).read_text("utf-8")
    for node in ast.parse(source, name).body:
      if isinstance(node, ast.FunctionDef):
        for reaction, mapped in _literal_maps(node):
          found.setdefault(reaction, MappedReaction(reaction, mapped))

  if not found:
    raise ValueError(f"root={str(root)!r}: its tests expect no map.")

  return list(found.values())


def _literal_maps(test: ast.FunctionDef) -> Iterator[tuple[str, str]]:
  """(reaction, expected map) of one test, if it states both as literals."""
  lists: list[list[str]] = []
  for node in ast.walk(test):
    if not isinstance(node, ast.List):
      continue

    try:
      # Literals alone: no code of the package is run.
      value = ast.literal_eval(node)
    except ValueError:  # not all of it is a literal
      continue

    texts = [v.get("mapped_rxn") if isinstance(v, dict) else v for v in value]
    if texts and all(isinstance(t, str) and ">>" in t for t in texts):
      lists.append([str(text) for text in texts])

  # One list of reactions and one of the same with atom maps.
  if len(lists) == 2 and len(lists[0]) == len(lists[1]):
    # False sorts before True: first the list without atom numbers.
    plain, mapped = sorted(lists, key=lambda texts: ":1]" in texts[0])
    yield from zip(plain, mapped, strict=True)
