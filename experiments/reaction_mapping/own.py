"""Atom map and attention figure of a reaction given by flag."""

from pathlib import Path

import numpy as np

from attnjax.runs import write_results
from experiments.reaction_mapping import network, report
from experiments.reaction_mapping.config import MappingConfig
from experiments.reaction_mapping.mapping import between_atoms, guided
from experiments.reaction_mapping.published import Published
from experiments.reaction_mapping.smiles import (
  join_groups,
  read_reaction,
  without_numbers,
)

__all__ = ["show"]


def show(config: MappingConfig, published: Published, workdir: Path) -> None:
  """Prints the map of `config.reaction`, writes it, and draws the attention.

  Raises:
    ValueError: it is no reaction, or has tokens that the model never learned.
  """
  reaction = read_reaction(without_numbers(join_groups(config.reaction)))
  ids = published.vocabulary.encode(reaction.text, unknown_ok=config.unknown_ok)
  (weights,) = network.attention(published.model, [ids])
  weight = weights[config.layer, config.head]
  attention = between_atoms(weight, reaction)
  found = guided(attention, reaction, config.multiplier)
  print(f"\n{reaction.text}\n\n{report.map_table(reaction, found)}")
  # As published: the confidence of a map is the product of its atoms'.
  sure = float(np.prod(found.confidence))
  print(f"\nconfidence in all of it: {sure:.3f}")
  write_results(
    workdir,
    {
      "reaction": reaction.text,
      "origin": found.origin.tolist(),
      "confidence": sure,
    },
  )
  path = workdir / "attention.png"

  print(report.draw_attention(path, weight, reaction, found.origin))
