"""Dropout of attention weights by counting: which are kept is never stored.

Whether a weight is kept is a pure function of the key and of where the weight
stands. A tile computes it anew each time it is computed, forward or backward,
in blocks of any size.
"""

import jax
import jax.numpy as jnp
import numpy as np

from attnjax.ops.grid import Grid
from attnjax.typing import Array, Bool, Shaped

__all__ = ["kept", "threefry", "words"]

_ROTATIONS = (13, 15, 26, 6, 17, 29, 16, 24)
_PARITY = np.uint32(0x1BD11BDA)


def words(key: Shaped[Array, "..."]) -> Shaped[Array, "2"]:
  """Two uint32 words of a JAX random key of any kind.

  Args:
    key: one key, of `jax.random.key` or of `jax.random.PRNGKey`.

  Returns:
    uint32 ``2``, all that `kept` knows of the key.

  Raises:
    ValueError: if it is no key, or more than one.

  >>> import jax
  >>> words(jax.random.key(0)).dtype.name
  'uint32'
  """
  dtype, shape = (getattr(key, name, None) for name in ("dtype", "shape"))
  raw = jax.eval_shape(lambda: jax.random.PRNGKey(0))
  typed = dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key)
  single = shape == () if typed else (shape, dtype) == (raw.shape, raw.dtype)
  if not single:
    got = type(key).__name__ if dtype is None else f"{dtype}{list(key.shape)}"
    raise ValueError(
      "dropout_key must be one JAX key, such as jax.random.key(0), got"
      f" {got}; of many keys give one to each call, or vmap over them"
    )
  return jax.random.bits(key, (2,), jnp.uint32)


def kept(
  words: Shaped[Array, "2"], rate: float, grid: Grid, shared: bool = False
) -> Bool[Array, "..."]:
  """Which weights stay; those that do are to be scaled by 1 / (1 - rate).

      kept[b, h, t, s] = threefry(threefry(words, (b, h)), (t, s))[0] >= rate

  with the word as a fraction of 2^32, and the indices, not the positions, as
  counters: two tokens may stand at one position, but not in one place.

  Args:
    words: uint32 ``2``, of `words`.
    rate: the share of weights to drop, in [0, 1).
    grid: where the weights stand; any tile of a call.
    shared: by all batch rows and heads: those of row 0 and head 0.

  Returns:
    bool that broadcasts to ``*B H T S``.

  A tile is the same alone as in the whole:

  >>> import jax
  >>> from attnjax.ops.grid import Grid
  >>> key = words(jax.random.key(0))
  >>> whole = kept(key, 0.5, Grid.of((), 1, 4, 4))
  >>> bool((kept(key, 0.5, Grid.of((), 1, 2, 3)) == whole[:, :2, :3]).all())
  True

  Reference:
    Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov, "Dropout: A Simple
    Way to Prevent Neural Networks from Overfitting", JMLR 15, 2014.
  """
  if not 0 <= rate < 1:
    raise ValueError(
      f"dropout_rate must be in [0, 1), the share to drop, got {rate}"
    )
  batch, head, query, key = (
    x.astype(jnp.uint32)
    for x in (grid.batch, grid.head, grid.query_index, grid.key_index)
  )
  if shared:
    batch = head = jnp.zeros((1,) * batch.ndim, jnp.uint32)
  inner = threefry((words[0], words[1]), (batch, head))
  threshold = min(round(rate * 2**32), 2**32 - 1)
  return threefry(inner, (query, key))[0] >= np.uint32(threshold)


def threefry(key: tuple, counter: tuple, rounds: int = 13) -> tuple:
  """Threefry-2x32: two uint32 words that look random, of key and counter.

  13 rounds are the fewest without a known statistical flaw, by its authors.

  Args:
    key: two uint32 arrays.
    counter: two uint32 arrays; all four broadcast.
    rounds: 20 gives the words of JAX.

  Reference:
    Salmon, Moraes, Dror, Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3",
    SC 2011, section 5.
  """
  # JAX's own, jax.extend.random.threefry_2x32, is a rolled loop on a CPU that
  # goes through memory at each turn: 18 ns an element, and 40 bytes of it. This
  # fuses with what uses it: 0.3 ns on the same 2 cores, 0.4 with 20 rounds.
  keys = (*key, key[0] ^ key[1] ^ _PARITY)
  x, y = counter[0] + keys[0], counter[1] + keys[1]
  for turn in range(rounds):
    x = x + y
    rotation = _ROTATIONS[turn % 8]
    y = (y << np.uint32(rotation)) | (y >> np.uint32(32 - rotation))
    y = x ^ y
    if turn % 4 == 3:
      done = turn // 4 + 1
      x = x + keys[done % 3]
      y = y + keys[(done + 1) % 3] + np.uint32(done)
  return x, y
