"""Slot memory: a store of key-value pairs, read and written by attention.

Slots: A store of S key-value pairs; leading axes broadcast to those of
  queries.
read: Reads slots by content: attention of the queries over the keys.
write: Writes values to slots by content: erase, then add, by attention
  weights.
"""

from attnjax.ops.slots import *  # noqa: F403
from attnjax.ops.slots import __all__ as __all__
