"""The glimpse: an input with some of its parts emphasised, others not.

`glimpse` multiplies; `draw` looks at one part alone, chosen at random, and
`score_function` gives its loss the gradient that a random choice has.

`glimpse` itself is in `attnjax`.

  Draw: What was drawn, one a row of logits.
  GlimpseAux: What a glimpse knows beside its output; None is what was not
    asked for.
  draw: A hard glimpse: one part of each row, drawn from the softmax of the
    logits.
  leave_one_out: A baseline for free: for each of N draws, the mean loss of
    the others.
  score_function: The loss again, with the gradient that its expectation
    has: REINFORCE.
"""

from attnjax.ops.glimpse import (
  Draw,
  GlimpseAux,
  draw,
  leave_one_out,
  score_function,
)

__all__ = [
  "Draw",
  "GlimpseAux",
  "draw",
  "leave_one_out",
  "score_function",
]
