"""`attnjax.scoring`: see `attnjax.ops.scoring`."""

from attnjax.ops.scoring import *  # noqa: F403
from attnjax.ops.scoring import __all__ as __all__
