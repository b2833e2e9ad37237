"""Which conformance cases the default suite holds: one for each feature.

A case is of the default suite if its law, or a part of its problem, is of no
case before it. `testing.cases` has the simple cases before those that combine
them, so that what is left to ``-m slow`` combines what is checked here.
"""

import dataclasses

import pytest

from attnjax.testing.problem import Problem

__all__ = [
  "features",
  "fewest",
  "one_of_each",
  "richest_of_groups",
  "slow_but",
]

_PLAIN = Problem()
# Of these it matters which; of the others (sizes, scales) only that one is set.
_NAMED = ("dtype", "positions", "scoring", "score_mod", "normalizer", "aux")

_OF_LAWS = ("asked", "how", "axes", "transform")  # else over which arrays


def features(case):
  """What a case is about: its law and each part that a plain call has not."""
  found = {("group", case.name.split("/")[0]), ("law", _law(case.law))}
  for field in dataclasses.fields(Problem):
    value = getattr(case.problem, field.name)
    if value == getattr(_PLAIN, field.name):
      continue
    if field.name == "mask":
      found |= {("mask", word) for word in _words(value)}
    elif field.name in _NAMED:
      found.add((field.name, value))
    else:
      found.add((field.name, None))
  return found


def _law(law):
  """The kind of a law: one of `Mapped` or `Sharded` stands for the others."""
  return getattr(law, "__name__", None) or (
    type(law).__name__,
    *(getattr(law, name, None) for name in _OF_LAWS),
  )


def _words(mask):
  """The constructors and operators in the description of a mask."""
  yield mask[0]
  for part in mask[1:]:
    if isinstance(part, tuple):
      yield from _words(part)


def one_of_each(cases):
  """The cases that have a feature which none before them has."""
  seen, kept = set(), []
  for case in cases:
    if not features(case) <= seen:
      kept.append(case)
      seen |= features(case)
  return kept


def fewest(cases):
  """Cases that have every feature of all: always that with most new ones."""
  left = set().union(*map(features, cases))
  kept = []
  while left:
    kept.append(max(cases, key=lambda case: len(features(case) & left)))
    left -= features(kept[-1])
  return kept


def richest_of_groups(cases):
  """Of each group, "mask" or "second", the case that has most features."""
  richest = {}
  for case in cases:
    group = case.name.split("/")[0]
    known = richest.setdefault(group, case)
    richest[group] = max(known, case, key=lambda c: len(features(c)))
  return list(richest.values())


def slow_but(cases, kept):
  """Parameters of a test: the cases, all but some of them marked slow."""
  names = {str(case) for case in kept}
  return [
    pytest.param(
      case, id=str(case), marks=[pytest.mark.slow] * (str(case) not in names)
    )
    for case in cases
  ]
