"""A memory of slots, outside of any sequence: read and written by attention.

Slots: A store of S pairs; leading axes may be fewer than a query's, or 1.
read: What the slots hold, weighted by how well each answers the query.
write: The store with new values where an address finds a slot.
"""

from attnjax.ops.slots import *  # noqa: F403
from attnjax.ops.slots import __all__ as __all__
