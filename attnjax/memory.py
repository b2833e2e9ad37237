"""`attnjax.memory`: see `attnjax.ops.memory`."""

from attnjax.ops.memory import *  # noqa: F403
from attnjax.ops.memory import __all__ as __all__
