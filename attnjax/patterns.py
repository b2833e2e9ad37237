"""`attnjax.patterns`: see `attnjax.ops.pattern` and `attnjax.ops.rollout`."""

from attnjax.ops.pattern import attention_pattern, move, value_maps
from attnjax.ops.rollout import attention_rollout

__all__ = ["attention_pattern", "attention_rollout", "move", "value_maps"]
