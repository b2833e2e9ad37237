"""`attnjax.masks`: see `attnjax.ops.masks`."""

from attnjax.ops.masks import *  # noqa: F403
from attnjax.ops.masks import __all__ as __all__
