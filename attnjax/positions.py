"""`attnjax.positions`: see `attnjax.ops.positions`."""

from attnjax.ops.positions import *  # noqa: F403
from attnjax.ops.positions import __all__ as __all__
