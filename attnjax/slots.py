"""`attnjax.slots`: see `attnjax.ops.slots`."""

from attnjax.ops.slots import *  # noqa: F403
from attnjax.ops.slots import __all__ as __all__
