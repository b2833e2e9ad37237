"""`LayerCaches`: the cache of a decoder whose windowed layers keep few tokens.

A layer with a window never looks further back than the window, so that its
cache may roll, and takes memory for the window whatever the length of the text.
Layers of full attention keep every token.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from attnjax.ops import cache as caches
from attnjax.ops.pytree_dataclass import pytree_dataclass, static
from attnjax.typing import Array, Bool, Int

__all__ = ["LayerCaches", "rewind_layers"]


@pytree_dataclass
class LayerCaches:
  """Caches of full layers and of windowed ones, each stacked over its layers.

  Args:
    full: of the layers that see everything, leading axis ``L``; None if there
      is none.
    window: of the layers with a window, which roll; None if there is none.
    capacity: tokens that the text may have at most.

  >>> from attnjax.models import DecoderConfig, DecoderLM
  >>> from flax import nnx
  >>> config = DecoderConfig(width=8, depth=3, heads=2, hidden=16, window=5,
  ...   layers=("window", "window", "full"))
  >>> model = DecoderLM(config, 11, rngs=nnx.Rngs(0))
  >>> cache = model.init_cache((2,), 1000, rolling=0)
  >>> cache.full.key.shape, cache.window.key.shape  # L B C K D
  ((1, 2, 1000, 2, 4), (2, 2, 6, 2, 4))
  """

  full: caches.KeyValueCache | None
  window: caches.KeyValueCache | None
  capacity: int = static()

  @property
  def length(self) -> Int[Array, "L *B"]:
    """Tokens that each row has read, in every layer of one of the groups."""
    group = self.window if self.full is None else self.full
    return group.length  # type: ignore[union-attr]

  def overflows(
    self, count: int | Int[Array | np.ndarray, "*B"]
  ) -> Bool[Array, "*B"] | None:
    """Marks rows that `count` more tokens overflow; raises where it is known.

    Layers that roll would go on for ever, but the frequencies of some rotary
    positions are those of a text of C tokens.
    """
    group = self.window if self.full is None else self.full
    first = jax.tree.map(lambda x: x[0], group)
    return caches.overflows(first, count, self.capacity)


def init_layers(
  kinds: tuple[str, ...],
  batch: tuple[int, ...],
  capacity: int,
  slots: int,
  **sizes,
) -> LayerCaches:
  """Empty caches, of `slots` tokens for layers with a window.

  Args:
    kinds: of the layers; see `DecoderConfig.kinds`.
    batch: sizes of the batch axes ``*B``.
    capacity: C, tokens of the text at most.
    slots: of a windowed layer.
    **sizes: for `cache.init`.

  >>> made = init_layers(("window",), (), 9, 4, heads=1, width=2)
  >>> made.full is None, made.window.capacity
  (True, 4)
  """
  windowed = sum(map(is_windowed, kinds))
  make = lambda layers, slots: (
    caches.init((layers, *batch), slots, **sizes) if layers else None
  )
  return LayerCaches(
    full=make(len(kinds) - windowed, capacity),
    window=make(windowed, min(slots, capacity)),
    capacity=capacity,
  )


def is_windowed(kind: str) -> bool:
  """Whether layers of a kind see a window only.

  >>> is_windowed("window_unrotated"), is_windowed("full")
  (True, False)
  """
  return kind.startswith("window")


def places(groups: tuple[str, ...]) -> Int[np.ndarray, "L"]:
  """Where each layer stands among those of its group.

  >>> places(("window", "window", "full", "window")).tolist()
  [0, 1, 0, 2]
  """
  found = [groups[:layer].count(group) for layer, group in enumerate(groups)]
  return np.array(found, np.int32)


def rewind_layers(
  cache: caches.KeyValueCache | LayerCaches,
  length: Int[Array | np.ndarray, "*B"],
) -> caches.KeyValueCache | LayerCaches:
  """Removes the newest tokens of each row in every layer of a model.

  Args:
    cache: of `DecoderLM.init_cache`.
    length: int ``*B``, tokens to keep of each row.

  Returns:
    The shorter cache; see `cache.rewind`. Windowed layers that roll look back
    as far as before if at most `rolling` tokens of `DecoderLM.init_cache` are
    removed; where more are, `DecoderLM.decode` refuses the next token.

  Raises:
    ValueError: if a length that is known is negative or more than was read.

  >>> import jax.numpy as jnp
  >>> from attnjax import cache
  >>> state = cache.init((3, 2), capacity=8, heads=1, width=4)  # of 3 layers
  >>> new = jnp.ones((3, 2, 5, 1, 4))
  >>> state = cache.append(state, new, new)
  >>> rewind_layers(state, jnp.array([4, 1])).length.tolist()
  [[4, 1], [4, 1], [4, 1]]
  """
  if isinstance(cache, LayerCaches):
    return dataclasses.replace(
      cache,
      full=_rewound(cache.full, length),
      window=_rewound(cache.window, length),
    )
  return _rewound(cache, length)


def _rewound(group, length):
  """One group after the newest tokens of each row are removed, if there is."""
  if group is None:
    return None
  # numpy stays numpy, so that a length that is known is refused if wrong.
  xp = jnp if isinstance(length, jax.Array) else np
  return caches.rewind(group, xp.broadcast_to(length, group.length.shape))
