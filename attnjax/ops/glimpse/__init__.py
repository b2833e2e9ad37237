"""Glimpses: elementwise products of an input with attention weights.

`glimpse` multiplies by weights; `draw` keeps one part, chosen at random, and
`score_function` gives its loss the gradient of the expectation (REINFORCE).
"""

from attnjax.ops.glimpse.draws import (
  Draw,
  draw,
  leave_one_out,
  score_function,
)
from attnjax.ops.glimpse.primitive import GlimpseAux, glimpse

__all__ = [
  "Draw",
  "GlimpseAux",
  "draw",
  "glimpse",
  "leave_one_out",
  "score_function",
]
