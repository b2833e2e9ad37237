"""Attention: one call, checked once, given to an implementation."""

from attnjax.ops.attention.api import attend
from attnjax.ops.attention.call import Aux

__all__ = ["Aux", "attend"]
