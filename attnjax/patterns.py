"""The attention pattern, and the values it moves, as 3Blue1Brown draws them.

attention_pattern: Orients attention weights for drawing: queries as rows or as
columns.
attention_rollout: Attention rollout: the share of each input in each output of
L layers.
move: Output of multi-head attention from weights and value maps.
value_maps: Value map (OV circuit) of each head: value times output projection.
"""

from attnjax.ops.patterns import *  # noqa: F403
from attnjax.ops.patterns import __all__ as __all__
