"""Key-value cache: a value. ``append(cache, key, value) -> cache``.

A cache is a frozen pytree of what attention has read so far. Rows of a batch
may have read different lengths. Slot i holds the newest position p with
p % capacity == i, so that one formula serves a cache that fills up (`append`)
and one that rolls over its oldest entries (`roll`). What was rolled over stays
forgotten, also where the cache is wound back (`rewind`).

  KeyValueCache: Keys and values of the tokens read so far, and their number a
    row.
  append: Stores the next keys and values of each row; an overflow is an error.
  init: An empty cache.
  rewind: Removes the newest tokens of each row, as if they had not been read.
  roll: Stores the next keys and values over the oldest: a rolling window.
"""

from attnjax.ops.cache import *  # noqa: F403
from attnjax.ops.cache import __all__ as __all__
