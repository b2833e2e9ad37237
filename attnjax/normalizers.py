"""`attnjax.normalizers`: see `attnjax.ops.normalizers`."""

from attnjax.ops.normalizers import *  # noqa: F403
from attnjax.ops.normalizers import __all__ as __all__
