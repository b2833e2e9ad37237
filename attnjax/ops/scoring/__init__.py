"""Scorings: how a query and a key make a logit.

A scoring is a frozen pytree, called as ``scoring(query, key, precision)`` with
query ``... G T D`` and key ``... S D``: one key head serves G query heads. It
returns logits ``... G T S`` in the dtype of its inputs, which `attend` has
raised to the dtype of the logits. Arrays it captures are leaves, and gradients
reach them.
"""

from attnjax.ops.scoring.additive import additive
from attnjax.ops.scoring.geometry import cosine, gaussian
from attnjax.ops.scoring.products import dot, general, scaled_dot
from attnjax.ops.scoring.protocol import Scoring

__all__ = [
  "Scoring",
  "additive",
  "cosine",
  "dot",
  "gaussian",
  "general",
  "scaled_dot",
]
