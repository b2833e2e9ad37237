"""Tables and figures of token recovery and of atom maps."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from attnjax.data import smiles_tokens
from attnjax.runs import spread, table
from attnjax.viz import attention_figure, head_values_figure, style
from experiments.reaction_mapping.config import MappingConfig
from experiments.reaction_mapping.mapping import (
  AtomMap,
  between_atoms,
  guided,
  same_map,
)
from experiments.reaction_mapping.published import Case
from experiments.reaction_mapping.smiles import ARROW, Reaction, is_atom

__all__ = [
  "case_table",
  "draw_attention",
  "draw_heads",
  "draw_largest",
  "filled_table",
  "head_table",
  "map_table",
  "product_table",
  "share_table",
]

_LONG = 50  # tokens of a reaction that has context enough to recover one


def filled_table(trained: Mapping, untrained: Sequence[Mapping]) -> str:
  """Table of masked tokens recovered: long, short and all reactions."""
  sizes, groups = np.array(trained["tokens"]), _by_length(trained["tokens"])
  rows = [
    [name, *(_share(found, key, chosen) for chosen in groups.values())]
    for name, found, key in (
      ("published weights", [trained], "right"),
      ("untrained", untrained, "right"),
      ("always the commonest token", [trained], "often"),
    )
  ]
  rows.append(["hidden tokens", *(sizes[at].sum() for at in groups.values())])
  columns = [f"{name} ({at.sum()})" for name, at in groups.items()]

  return "\nfilled in\n\n" + table(["reactions", *columns], rows)


def _by_length(sizes: Sequence[int]) -> dict[str, np.ndarray]:
  """Boolean selections of long, short and all reactions; none is empty.

  Args:
    sizes: tokens of each reaction.
  """
  long = np.array(sizes) >= _LONG
  groups = {f"of {_LONG} tokens or more": long, "shorter": ~long}
  groups["all"] = np.ones_like(long)
  return {name: chosen for name, chosen in groups.items() if chosen.any()}


def _share(found: Sequence[Mapping], name: str, chosen: np.ndarray) -> str:
  """Spread over networks of the share of masked tokens, of chosen reactions."""
  total = lambda key, one: np.array(one[key])[chosen].sum()
  return spread([total(name, one) / total("tokens", one) for one in found])


def product_table(found: Mapping, trained: Mapping) -> str:
  """Table of product tokens recovered with reactants seen, and masked."""
  groups = _by_length(trained["tokens"])
  total = lambda key, at: np.array(found[key])[at].sum()
  rows = [
    [
      f"their reactants {key}",
      *(f"{total(key, at)} of {total('tokens', at)}" for at in groups.values()),
    ]
    for key in ("seen", "hidden")
  ]

  return "\n" + table(["products of reactions", *groups], rows)


def case_table(
  config: MappingConfig, cases: Sequence[Case], weights: Sequence[np.ndarray]
) -> tuple[str, list[dict]]:
  """Table and records: whether our map is the published one, confidences."""
  rows, found = [], []
  for case, weight in zip(cases, weights, strict=True):
    attention = between_atoms(weight[config.layer, config.head], case.read)
    mapped = guided(attention, case.read, config.multiplier)
    same = same_map((case.reaction, case.origin), (case.read, mapped.origin))
    sure = float(np.prod(mapped.confidence))
    published = case.confidence

    rows.append(
      [
        f"`{case.read.text}`",
        "yes" if same else "no",
        f"{sure:.7f}",
        "not published" if published is None else f"{published:.7f}",
      ]
    )
    found.append({"same": bool(same), "sure": sure, "published": published})

  columns = ["reaction", "the published map", "confidence", "published"]
  return "\nmaps\n\n" + table(columns, rows), found


def head_table(heads: np.ndarray, best: int = 8) -> str:
  """Table of the heads that map most atoms as published, best first."""
  order = np.argsort(-heads, axis=None, kind="stable")[:best]
  places = [np.unravel_index(n, heads.shape) for n in order]
  rows = [[f"{at[0]}", at[1], f"{heads[at]:.3f}"] for at in places]
  return "\nheads\n\n" + table(["layer", "head", "atoms right"], rows)


def share_table(columns: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
  """Table of shares of atoms right: a row a rule, a column a condition."""
  names = list(dict.fromkeys(n for runs in columns.values() for n in runs[0]))
  rows = [
    [
      name,
      *(
        spread([run[name] for run in runs]) if name in runs[0] else ""
        for runs in columns.values()
      ),
    ]
    for name in names
  ]

  return "\natoms mapped as published\n\n" + table(["rule", *columns], rows)


def map_table(reaction: Reaction, found: AtomMap) -> str:
  """Table of the reactant atom and the confidence of each product atom."""
  _, after = _names(reaction, found.origin)
  names = [*_places(reaction), ("nowhere", "")]  # -1 is the last
  rows = [
    [product, *names[reactant], f"{sure:.3f}"]
    for product, reactant, sure in zip(
      after, found.origin, found.confidence, strict=True
    )
  ]
  return table(["product atom", "is atom", "of", "confidence"], rows)


def _places(reaction: Reaction) -> list[tuple[str, str]]:
  """(token and number, molecule) of each reactant atom, in order."""
  before, _ = reaction.text.split(ARROW)
  return [
    (f"{token} {n}", f"`{molecule}`")
    for molecule in before.split(".")
    for n, token in enumerate(filter(is_atom, smiles_tokens(molecule)), start=1)
  ]


def draw_attention(
  path: Path, weight: np.ndarray, reaction: Reaction, origin: np.ndarray
) -> Path:
  """Draws attention of product to reactant atoms, labelled by the map."""
  before, after = _names(reaction, origin)
  figure = attention_figure(
    between_atoms(weight, reaction, "forth")[None], after, before, titles=[""]
  )
  panel = figure.axes[0]
  panel.set_xlabel("reactant atom (key)")
  panel.set_ylabel("product atom (query)")

  return style.save_figure(figure, path)


def draw_largest(
  workdir: Path,
  config: MappingConfig,
  cases: Sequence[Case],
  weights: Sequence[np.ndarray],
) -> Path:
  """Draws the attention of the reaction with most product atoms."""
  n = max(range(len(cases)), key=lambda n: len(cases[n].origin))
  weight = weights[n][config.layer, config.head]
  path = workdir / "attention.png"
  return draw_attention(path, weight, cases[n].reaction, cases[n].origin)


def draw_heads(path: Path, heads: np.ndarray) -> Path:
  """Draws a heat map, layers by heads, of the share of atoms right."""
  figure = head_values_figure(
    heads, label="atoms mapped as published", limits=(0.0, 1.0)
  )
  return style.save_figure(figure, path)


def _names(
  reaction: Reaction, origin: np.ndarray
) -> tuple[list[str], list[str]]:
  """Labels of reactant and of product atoms; mapped pairs share a number."""
  # Places count from the [CLS] that the model reads first.
  tokens = ["[CLS]", *smiles_tokens(reaction.text)]
  name = lambda side: [tokens[place] for place in side.places]
  before, after = name(reaction.reactants), name(reaction.products)
  for product, reactant in enumerate(origin):
    after[product] += f":{product + 1}"
    if reactant >= 0:
      before[reactant] += f":{product + 1}"
  return before, after
