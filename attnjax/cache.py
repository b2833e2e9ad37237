"""`attnjax.cache`: see `attnjax.ops.cache`."""

from attnjax.ops.cache import *  # noqa: F403
from attnjax.ops.cache import __all__ as __all__
