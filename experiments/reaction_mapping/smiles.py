"""A SMILES parser for reactions: atoms, elements, bonds and map numbers.

It reads as much of SMILES as atom mapping needs: elements, which atoms are
bonded, and the numbers of a mapped reaction. Valences and bond orders are not
checked.
"""

import itertools
import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from attnjax.data import smiles_tokens

__all__ = [
  "ARROW",
  "Reaction",
  "Side",
  "is_atom",
  "join_groups",
  "read_mapped",
  "read_reaction",
  "without_numbers",
]

ARROW = ">>"
# `[` opens an atom in brackets, `*` is any atom.
_ATOM = re.compile(r"[A-Za-z\[*]")
# Digits are an isotope; small letters are aromatic atoms.
_ELEMENT = re.compile(r"\[?\d*(\*|[A-Z][a-z]?|se|as|te|[a-z])")
_NUMBER = re.compile(r":(\d+)]$")
_RING = re.compile(r"%?\d+")
# An atom that needs no bracket, once its number and its hydrogens are gone.
_SIMPLE = re.compile(r"\[(Br|Cl|[BCNOSPFI]|[cops])(?:H\d*)?]|\[(\*|n)]")
_GROUPS = re.compile(r" \|f:([\d.,]+)\|$")


class Side(NamedTuple):
  """Atoms and bonds of the reactants, or of the products.

  Args:
    places: index of each atom's token in the row that the model reads.
    elements: symbol of each atom, such as "C"; aromatic atoms alike.
    bonds: bool, atoms by atoms, symmetric.
  """

  places: np.ndarray
  elements: tuple[str, ...]
  bonds: np.ndarray


class Reaction(NamedTuple):
  """A reaction without map numbers; places count [CLS] as token 0."""

  text: str
  reactants: Side
  products: Side


def is_atom(token: str) -> bool:
  """Whether a SMILES token is an atom, not a bond, ring closure or branch."""
  return _ATOM.match(token) is not None


def read_reaction(text: str) -> Reaction:
  """Parses `reactants>>products`.

  Raises:
    ValueError: it is no SMILES, or no reaction, or a ring or a branch is left
      open.
  """
  tokens = smiles_tokens(text)
  if tokens.count(ARROW) != 1 or not all(text.split(ARROW)):
    raise ValueError(
      f"reaction={text!r:.80}: expected reactants>>products, both of one"
      f" molecule or more, got {tokens.count(ARROW)} arrows; put reagents with"
      " the reactants"
    )

  arrow = tokens.index(ARROW)
  # The reactants begin at place 1 of the model's row, after [CLS].

  return Reaction(
    text,
    _read_side(tokens[:arrow], 1, text),
    _read_side(tokens[arrow + 1 :], arrow + 2, text),
  )


def read_mapped(mapped: str) -> tuple[Reaction, np.ndarray]:
  """Parses a reaction with map numbers.

  Returns:
    The reaction without numbers; and, of each product atom, the index of the
    reactant atom with the same number, or -1, ``P``.
  """
  mapped = join_groups(mapped)
  reaction = read_reaction(without_numbers(mapped))
  atoms = [token for token in smiles_tokens(mapped) if is_atom(token)]
  numbers = [_number(atom) for atom in atoms]
  before = numbers[: len(reaction.reactants.elements)]
  # Number 0 is an atom without a number.
  at = {number: place for place, number in enumerate(before) if number}
  after = numbers[len(before) :]
  return reaction, np.array([at.get(number, -1) for number in after])


def without_numbers(text: str) -> str:
  """Removes map numbers, and brackets that only they need.

  >>> without_numbers("[CH3:1][O-:2]")
  'C[O-]'
  """
  return "".join(_plain(token) for token in smiles_tokens(text))


def join_groups(text: str) -> str:
  """Replaces the fragment groups of an extended SMILES by joints `~`.

  A suffix `|f:0.1|` says that fragments 0 and 1 are one salt; the model was
  trained on salts whose fragments are joined by `~`.

  >>> join_groups("[Na+].[OH-].CCl>>CO |f:0.1|")
  '[Na+]~[OH-].CCl>>CO'

  Raises:
    ValueError: fragments of one salt do not stand side by side.
  """
  found = _GROUPS.search(text)
  if not found:
    return text

  # Fragments at even places, the separators that may become `~` at odd ones.
  fragments = re.split(r"(>>|\.)", text[: found.start()])
  for group in found[1].split(","):
    numbers = [int(number) for number in group.split(".")]
    for first, second in itertools.pairwise(numbers):
      if second != first + 1 or 2 * second >= len(fragments):
        raise ValueError(
          f"reaction={text!r:.80}: fragments {group} do not stand side by side;"
          " write those of one salt together, joined by ~"
        )
      fragments[2 * first + 1] = "~"

  return "".join(fragments)


def _plain(token: str) -> str:
  """A token without its map number, and without needless brackets."""
  if not _NUMBER.search(token):
    return token
  token = _NUMBER.sub("]", token)
  simple = _SIMPLE.fullmatch(token)
  return token if simple is None else simple[1] or simple[2]


def _number(token: str) -> int:
  """Map number of an atom's token, or 0."""
  found = _NUMBER.search(token)
  return int(found[1]) if found else 0


def _read_side(tokens: list[str], start: int, text: str) -> Side:
  """Parses the tokens of one side, the first at place `start` of the row."""
  places = [n for n, token in enumerate(tokens) if is_atom(token)]
  bonds = np.zeros((len(places), len(places)), bool)
  for one, two in _bonded(tokens, text):
    bonds[one, two] = bonds[two, one] = True
  elements = tuple(_element(tokens[place]) for place in places)
  return Side(np.array(places, int) + start, elements, bonds)


def _bonded(tokens: list[str], text: str) -> Iterator[tuple[int, int]]:
  """Yields pairs of bonded atoms, whatever the order of the bond.

  Raises:
    ValueError: a branch or a ring does not begin or does not end.
  """
  # `last` is the atom that the next one is bonded to; `branches` has those to
  # return to, `rings` those that wait for the other end of their ring.
  atoms, last = 0, None
  rings: dict[str, int | None] = {}
  branches: list[int | None] = []
  for token in tokens:
    if is_atom(token):
      if last is not None:
        yield last, atoms
      last, atoms = atoms, atoms + 1
    elif token == ".":
      last = None
    elif token == "(":
      branches.append(last)
    elif token == ")":
      if not branches:
        raise ValueError(f"reaction={text!r:.80}: a branch ends unbegun")
      last = branches.pop()
    elif _RING.fullmatch(token):
      if token not in rings:
        rings[token] = last
      else:
        # Closed: its number may name another ring from here on.
        first = rings.pop(token)
        if first is not None and last is not None:
          yield first, last

  if rings or branches:
    what = f"ring {next(iter(rings))}" if rings else "a branch"
    raise ValueError(f"reaction={text!r:.80}: {what} is left open")


def _element(atom: str) -> str:
  """Element symbol of an atom's token."""
  found = _ELEMENT.match(atom)
  return found[1].capitalize() if found else atom
