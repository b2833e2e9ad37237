"""Scorings, score mods and normalizers: each as attnjax has it, and twice more.

Once in numpy, a row of logits at a time, for the oracle; once in plain dense
JAX, for its derivatives. None of the arithmetic is that of `attnjax.ops`.
"""

from attnjax.testing.parts.matching import SCORINGS
from attnjax.testing.parts.modifying import SCORE_MODS
from attnjax.testing.parts.normalizing import NORMALIZERS

__all__ = [
  "NORMALIZERS",
  "SCORE_MODS",
  "SCORINGS",
]
