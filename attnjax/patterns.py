"""The attention pattern, and the values it moves, as 3Blue1Brown draws them.

attention_pattern: Attention weights in one of the two layouts in which they
  are drawn.
attention_rollout: Attention rollout: the share of each input in each output
  of L layers.
move: Sum over heads of the change each proposes to each embedding.
value_maps: Value map (OV circuit) of each head: the change for what it reads.
"""

from attnjax.ops.patterns import *  # noqa: F403
from attnjax.ops.patterns import __all__ as __all__
