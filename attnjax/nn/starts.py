"""How layers that mix queries, keys and values begin: bound, drawn, identity.

To recall, a layer must ask with the key that it wrote with, and write a value
under the key of the token before. Where both are to be learned, each alone
gains little, and the loss first stands still.
"""

import jax
import jax.numpy as jnp

from attnjax.typing import Array, Float, Key

__all__ = ["STARTS", "bound", "check_start", "initial_taps"]

STARTS = ("bound", "drawn", "identity")


def check_start(layer: str, start: str, convolution: int) -> None:
  """Raises ValueError if a layer cannot begin so.

  Args:
    layer: its name, for the error.
    start: one of `STARTS`.
    convolution: tokens that it sees.

  >>> check_start("NeuralMemory", "bound", 4)
  """
  if start not in STARTS:
    raise ValueError(
      f"{layer}: start must be one of {list(STARTS)}, got {start!r}"
    )
  if start == "drawn" and convolution < 2:
    raise ValueError(
      f"{layer}: start='drawn' draws the taps of a convolution, which must see"
      f" 2 tokens or more, got {convolution}; take 'bound' or 'identity'"
    )


def bound(
  start: str, query: Float[Array, "..."], key: Float[Array, "..."]
) -> Float[Array, "..."]:
  """What the map of queries begins as: bound, the keys' map, else its own.

  >>> import jax.numpy as jnp
  >>> bound("bound", jnp.zeros(2), jnp.ones(2)).tolist()
  [1.0, 1.0]
  """
  return jnp.copy(key) if start == "bound" else query


def initial_taps(
  start: str,
  convolution: int,
  features: int,
  key: Key[Array, ""] | None,
  writes: int = 1,
) -> Float[Array, "K A3"]:
  """Taps of the causal convolution of queries, keys and values at the start.

  With "identity" a token is itself. With "bound" a key is the token before: a
  value is written under the key told before it, while queries and values are
  their own token; attention does not look at itself first. With "drawn" each
  tap is uniform within 1 / sqrt(K).

  Args:
    start: one of `STARTS`.
    convolution: K, tokens that it sees; of 1, "bound" is "identity".
    features: A, of queries, of keys, and of values.
    key: for "drawn"; else None will do.
    writes: n, keys and values of a token; then there are (1 + 2n) A features.

  Raises:
    ValueError: "drawn" without a key.

  >>> initial_taps("bound", 2, 1, None).tolist()  # the token before, the token
  [[0.0, 1.0, 0.0], [1.0, 0.0, 1.0]]

  Reference:
    "drawn": the short convolutions of Yang and Zhang, "Flash Linear Attention",
    2024, begin as PyTorch's `Conv1d`; "bound": keys shifted by a token are
    what an induction head computes in two layers, Olsson et al., "In-context
    Learning and Induction Heads", 2022, arXiv 2209.11895.
  """
  total = (1 + 2 * writes) * features
  if start == "drawn":
    if key is None:
      raise ValueError("initial_taps: start='drawn' draws its taps; give a key")
    limit = convolution**-0.5
    return jax.random.uniform(
      key, (convolution, total), minval=-limit, maxval=limit
    )

  taps = jnp.zeros((convolution, total)).at[-1].set(1)
  if start == "bound" and convolution > 1:
    keys = slice(features, (1 + writes) * features)
    taps = taps.at[-1, keys].set(0).at[-2, keys].set(1)
  return taps
