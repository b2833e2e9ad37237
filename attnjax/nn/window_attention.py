"""Causal sliding-window attention with learned persistent tokens."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from attnjax.nn.attention import MultiHeadAttention
from attnjax.nn.initializers import FAN_IN
from attnjax.nn.starts import bound, check_start, initial_taps
from attnjax.ops import cache as caches
from attnjax.ops import masks, score_mods
from attnjax.ops.attention import attend as default_attend
from attnjax.ops.convolution import causal_convolution
from attnjax.ops.forgotten_tokens import sees_forgotten
from attnjax.ops.heads import combine_heads, project_heads
from attnjax.ops.pytree_dataclass import pytree_dataclass
from attnjax.ops.value_checks import poison
from attnjax.typing import Array, DTypeLike, Float, PyTree

__all__ = ["WindowAttention", "WindowCache"]

# Position of an empty cache slot: after any query, so never seen. Not the
# largest int32, because positions are subtracted.
_LATER = np.int32(2**30)


@pytree_dataclass
class WindowCache:
  """Cache of a `WindowAttention`: keys and values, and convolution inputs.

  Args:
    rows: keys and values.
    tail: the last inputs of the convolution, ``*B J 3HD``; None where there
      is no convolution.

  >>> from flax import nnx
  >>> layer = WindowAttention(6, 2, window=3, convolution=4, rngs=nnx.Rngs(0))
  >>> layer.init_cache((5,), 100).tail.shape
  (5, 3, 18)
  """

  rows: PyTree
  tail: PyTree


class WindowAttention(nnx.Module):
  """Causal attention over a window of tokens and learned persistent ones.

      out[t] = attend(q[t]; [p, x[t - window], ..., x[t]])

  The persistent tokens p are parameters. The first half of the heads have
  ALiBi, the others no position encoding, so that sequences may be longer than
  those of training. An optional convolution runs along queries, keys and
  values.

  Args:
    width: M.
    heads: H.
    window: tokens before its own that a query sees; None is all of them.
    persistent: N, tokens that every query sees.
    convolution: tokens that the convolution sees; 1 is none.
    start: of projections and convolution, "bound", "drawn" or "identity"; see
      `NeuralMemory`.
    attend: the attention to call.
    output_init: of the map out.
    rngs: Flax NNX random streams; uses "params".

  Raises:
    ValueError: if heads do not divide the width, a size is negative, the start
      is none of the three, or "drawn" without a convolution.

  >>> import jax.numpy as jnp
  >>> from flax import nnx
  >>> layer = WindowAttention(6, 2, window=1, persistent=3, rngs=nnx.Rngs(0))
  >>> x = jnp.ones((7, 6))
  >>> far = layer(x.at[0].set(2.0))[2:] == layer(x)[2:]
  >>> bool(far.all())  # tokens outside of the window are not seen
  True

  Reference:
    Behrouz, Zhong, Mirrokni, "Titans", 2025, arXiv 2501.00663, equations 19 and
    26, and section 4.4 for the convolution; persistent tokens: Sukhbaatar et
    al., "Augmenting Self-attention with Persistent Memory", 2019, arXiv
    1907.01470.
  """

  def __init__(
    self,
    width: int,
    heads: int,
    *,
    window: int | None,
    persistent: int = 0,
    convolution: int = 1,
    start: str = "bound",
    attend: Callable = default_attend,
    output_init: Callable = FAN_IN,
    rngs: nnx.Rngs,
  ):
    for name, value in (("window", window), ("persistent", persistent)):
      if value is not None and value < 0:
        raise ValueError(
          f"WindowAttention: {name} must be 0 or more tokens, got {value}"
        )
    if convolution < 1:
      raise ValueError(
        "WindowAttention: convolution must see 1 token or more, got"
        f" {convolution}"
      )

    check_start("WindowAttention", start, convolution)

    self.attention = MultiHeadAttention(
      width, heads, attend=attend, output_init=output_init, rngs=rngs
    )
    query, key = self.attention.query.kernel, self.attention.key.kernel
    query[...] = bound(start, query[...], key[...])
    # Of variance 1, as the normalised tokens beside which they stand.
    tokens = jax.random.normal(rngs.params(), (persistent, width))
    self.persistent = nnx.Param(tokens) if persistent else None
    drawn = rngs.params() if start == "drawn" else None
    taps = initial_taps(start, convolution, width, drawn)
    self.kernel = nnx.Param(taps) if convolution > 1 else None
    self.window, self.heads = window, heads

  @property
  def count(self) -> int:
    """N, the number of persistent tokens."""
    return 0 if self.persistent is None else self.persistent.shape[0]

  def __call__(
    self,
    inputs: Float[Array, "*B T M"],
    beside: Float[Array, "*B T M"] | None = None,
  ) -> Float[Array, "*B T M"]:
    """Causal attention over the window.

    Args:
      inputs: ``*B T M``.
      beside: ``*B T M``, a second token at each position, visible where the
        first one is; in MAC, what the memory recalled.
    """
    positions = jnp.arange(inputs.shape[-2], dtype=jnp.int32)
    (query, *own), _ = self._project(inputs, None)
    heads = [own] if beside is None else [self._keys_values(beside), own]
    return self._attend(query, positions, heads, [positions for _ in heads])

  def init_cache(
    self,
    batch: tuple[int, ...],
    capacity: int,
    dtype: DTypeLike = jnp.float32,
  ) -> WindowCache:
    """An empty cache of the window; without one, of `capacity` tokens."""
    # A query sees itself beside its window; older tokens may be overwritten.
    if self.window is not None:
      capacity = self.window + 1
    _, heads, width = self.attention.key.kernel.shape
    rows = caches.init(batch, capacity, heads, width, dtype=dtype)
    if self.kernel is None:
      return WindowCache(rows, None)
    taps, features = self.kernel.shape
    return WindowCache(rows, jnp.zeros((*batch, taps - 1, features), dtype))

  def decode(
    self,
    inputs: Float[Array, "*B T M"],
    cache: WindowCache,
    beside: tuple[Float[Array, "*B T M"], WindowCache] | None = None,
  ):
    """Attends new tokens over the cache and themselves, causally.

    Args:
      inputs: ``*B T M``, the next tokens.
      cache: of the tokens before.
      beside: the second tokens of these positions, and the cache of such
        tokens.

    Returns:
      ``*B T M`` and the new cache; with `beside` its cache too.

    Raises:
      ValueError: if the cache is of another layer, with a smaller window; if it
        is known to have no room for the tokens, without a window.
    """
    position = cache.rows.next_positions(inputs.shape[-2])
    (query, *own), tail = self._project(inputs, cache.tail)
    # `beside` stands first among the keys, and last among the results.
    parts = [(cache, tail, own)]
    if beside is not None:
      token, old = beside
      parts = [(old, old.tail, self._keys_values(token)), *parts]

    heads, slots, after = [], [], []
    for old, tail, pair in parts:
      rows, key, value, places = self._store(old.rows, *pair)
      heads.append((key, value))
      slots.append(jnp.where(places < 0, _LATER, places))
      after.append(WindowCache(rows, tail))

      # A cache too small for the window has overwritten tokens of it.
      wrong = sees_forgotten(
        self._mask(), old.rows.length, old.rows.forgotten, inputs.shape[-2]
      )
      query = poison(query, wrong)

    out = self._attend(query, position, heads, slots)
    return (out, *reversed(after))

  def _store(self, rows, key, value):
    """(rows with new tokens; all keys, values and positions they may see)."""
    if self.window is None:
      rows = caches.append(rows, key, value)
      return rows, rows.key, rows.value, rows.positions

    # Only a window has tokens that no later query sees, and whose slots are
    # free; the first of several new tokens still sees what the last ones
    # overwrite.
    seen = caches.unrolled(rows, key, value)
    return (caches.roll(rows, key, value), *seen)

  def _project(self, x, tail):
    """((queries, keys, values), tail), after the convolution if any."""
    parts = project_heads(self.attention.params, x, None)
    if self.kernel is None:
      return parts, tail

    # One convolution over the features of all three.
    flat = [jax.lax.collapse(part, part.ndim - 2) for part in parts]
    mixed, new = causal_convolution(
      jnp.concatenate(flat, axis=-1), self.kernel[...], tail
    )

    pieces = jnp.split(mixed, 3, axis=-1)
    parts = [y.reshape(x.shape) for y, x in zip(pieces, parts, strict=True)]
    return parts, new if tail is None else new.astype(tail.dtype)

  def _keys_values(self, x):
    """(keys, values) of tokens outside of the sequence, without convolution."""
    return project_heads(self.attention.params, x, None)[1:]

  def _attend(self, query, position, heads: Sequence, key_positions: Sequence):
    """Attends over the persistent tokens and all given keys and values."""
    if self.persistent is not None:
      # At positions -N .. -1, which `masks.prefix(0)` shows to every query.
      tokens = self.persistent[...].astype(query.dtype)
      batch = heads[0][0].shape[:-3]
      spread = lambda x: jnp.broadcast_to(x, (*batch, *x.shape))
      heads = [tuple(map(spread, self._keys_values(tokens))), *heads]

      negative = jnp.arange(-self.count, 0, dtype=jnp.int32)
      rows = key_positions[0].shape[:-1]
      negative = jnp.broadcast_to(negative, (*rows, self.count))
      key_positions = [negative, *key_positions]

    key, value = (
      jnp.concatenate([pair[n].astype(query.dtype) for pair in heads], axis=-3)
      for n in (0, 1)
    )

    out = self.attention.attend(
      query,
      key,
      value,
      mask=self._mask(),
      score_mod=score_mods.from_fn(_near, _slopes(self.heads)),
      query_positions=position,
      key_positions=jnp.concatenate(key_positions, axis=-1),
    )
    return combine_heads(self.attention.params.output, out, "concatenate")

  def _mask(self) -> masks.Mask:
    """The window, and the negative positions of the persistent tokens."""
    if self.window is None:
      return masks.causal()
    return masks.sliding_window(self.window) | masks.prefix(0)


def _slopes(heads: int) -> Float[Array, " H"]:
  """1, 1/4, 1/16, ... for the first half of the heads, 0 for the others.

  The slopes of ALiBi for two heads, 1/16 and 1/256, are too flat for a head to
  tell the previous token from the one before it.
  """
  count = heads // 2
  slopes = 0.25 ** np.arange(count, dtype=np.float32)
  return jnp.concatenate([jnp.asarray(slopes), jnp.zeros(heads - count)])


def _near(logit, b, h, q, k, slopes):
  """ALiBi, with distance 0 to persistent tokens (negative positions)."""
  distance = jnp.where(k < 0, 0, jnp.abs(q - k)).astype(logit.dtype)
  return logit - slopes[h].astype(logit.dtype) * distance
