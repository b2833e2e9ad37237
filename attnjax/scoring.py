"""Scorings: how a query and a key make a logit.

A scoring is a frozen pytree, called as ``scoring(query, key, precision)`` with
query ``... G T D`` and key ``... S D``: one key head serves G query heads. It
returns logits ``... G T S`` in the dtype of its inputs, which `attend` has
raised to the dtype of the logits. Arrays it captures are leaves, and gradients
reach them.

  Scoring: Base of scorings: how queries and keys make logits; see `dot`.
  additive: Additive scoring: a network of one hidden layer.
  cosine: Cosine of the angle between query and key, over a temperature.
  dot: Dot product, logit[t, s] = q[t] · k[s].
  gaussian: Gaussian kernel, logit[t, s] = -|q[t] - k[s]|² / (2 h²).
  general: Bilinear form, logit[t, s] = q[t] · W k[s], not scaled.
  scaled_dot: Scaled dot product, logit[t, s] = scale · q[t] · k[s].
"""

from attnjax.ops.scoring import *  # noqa: F403
from attnjax.ops.scoring import __all__ as __all__
