"""The attention pattern, and the values it moves, as 3Blue1Brown draws them.

attention_pattern: Attention weights in one of the two layouts in which they
  are drawn.
attention_rollout: The share of each input in each output, if attention alone
  mixed them.
move: The sum of the changes that heads propose to each embedding.
value_maps: The map of each head from what is read to the change it proposes.
"""

from attnjax.ops.patterns import *  # noqa: F403
from attnjax.ops.patterns import __all__ as __all__
