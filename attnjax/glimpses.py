"""`attnjax.glimpses`: see `attnjax.ops.glimpse`; `glimpse` is in `attnjax`."""

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
