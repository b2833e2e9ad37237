"""`attnjax.score_mods`: see `attnjax.ops.score_mods`."""

from attnjax.ops.score_mods import *  # noqa: F403
from attnjax.ops.score_mods import __all__ as __all__
