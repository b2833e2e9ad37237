"""The glimpse: an input with some of its parts emphasised, others not.

`glimpse` multiplies by weights; `draw` keeps one part, chosen at random, and
`score_function` gives its loss the gradient of the expectation (REINFORCE).

`glimpse` itself is in `attnjax`.

  Draw: Index and log-probability of the part that each row drew.
  GlimpseAux: Weights and entropy of a glimpse; None where they were not asked
    for.
  draw: A hard glimpse: one part of each row, drawn from the softmax of the
    logits.
  leave_one_out: Leave-one-out baseline: for each of N draws, the mean loss of
    the others.
  score_function: REINFORCE: the loss, with an unbiased gradient of its
    expectation.
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
