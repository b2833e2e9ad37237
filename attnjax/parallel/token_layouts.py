"""Token layouts: the order of tokens over devices, contiguous to striped.

A layout is a permutation of a sequence, cut into equal shards, one a device. It
is applied once, to all inputs of a model: tokens, targets, positions and
segment ids. Masks compare positions, so nothing else changes.
"""

from typing import Literal

import jax.numpy as jnp
import numpy as np

from attnjax.moved import forward_names
from attnjax.ops.integers import known
from attnjax.typing import Array, Shaped

__all__ = [
  "LAYOUTS",
  "TokenLayout",
  "check_length",
  "check_positions",
  "is_concrete",
  "permute",
  "spans_per_shard",
  "token_order",
  "unpermute",
]

TokenLayout = Literal["contiguous", "zigzag", "striped"]
LAYOUTS: tuple[TokenLayout, ...] = ("contiguous", "zigzag", "striped")


def permute(
  x: Shaped[Array | np.ndarray, "..."],
  layout: TokenLayout,
  shards: int,
  axis: int = -1,
) -> Shaped[Array | np.ndarray, "..."]:
  """Permutes an axis of tokens into the order of a layout.

      contiguous  shard i holds tokens i T/n to (i + 1) T/n
      zigzag      shard i holds the pieces i and 2n - 1 - i of 2n
      striped     shard i holds tokens i, i + n, i + 2n...

  Under a causal mask a contiguous shard has the less to do the earlier it is;
  the other two share the work evenly.

  Args:
    x: any array; numpy stays numpy, and so known while a program is traced.
    layout: the order.
    shards: n, devices that share the axis.
    axis: the axis of tokens.

  Returns:
    The array in another order; `unpermute` puts it back.

  Raises:
    ValueError: for a layout that is none, shards below 1, or a length that
      does not divide.

  >>> import numpy as np
  >>> permute(np.arange(8), "zigzag", 2).tolist()
  [0, 1, 6, 7, 2, 3, 4, 5]
  >>> permute(np.arange(8), "striped", 2).tolist()
  [0, 2, 4, 6, 1, 3, 5, 7]

  Reference:
    Brandon et al., "Striped Attention: Faster Ring Attention for Causal
    Transformers", 2023, arXiv 2311.09431. Zigzag: Llama Team, "The Llama 3 Herd
    of Models", 2024, arXiv 2407.21783, section 3.3.2.
  """
  return _take_tokens(x, token_order(layout, x.shape[axis], shards), axis)


def unpermute(
  x: Shaped[Array | np.ndarray, "..."],
  layout: TokenLayout,
  shards: int,
  axis: int = -1,
) -> Shaped[Array | np.ndarray, "..."]:
  """The inverse of `permute`.

  Args:
    x: as of `permute`, and so all that follows.
    layout: the order that the axis is in.
    shards: n, devices that share the axis.
    axis: the axis of tokens.

  Returns:
    The array in the order of the sequence.

  Raises:
    ValueError: as `permute`.

  >>> import numpy as np
  >>> x = np.arange(12)
  >>> (unpermute(permute(x, "zigzag", 3), "zigzag", 3) == x).all().item()
  True
  """
  return _take_tokens(x, _inverse_order(layout, x.shape[axis], shards), axis)


def token_order(layout: TokenLayout, length: int, shards: int) -> np.ndarray:
  """Index in the sequence of each entry of a permuted array, int32 ``T``.

  >>> token_order("contiguous", 3, 3).tolist()
  [0, 1, 2]
  """
  if shards < 1:
    raise ValueError(f"permute: shards must be at least 1, got {shards}")
  check_length("tokens", length, layout, shards)

  index = np.arange(length, dtype=np.int32)
  if layout == "striped":
    return index.reshape(-1, shards).T.reshape(-1)
  if layout == "zigzag":
    # Device i has piece i and, counted from the end, piece i again.
    pieces = index.reshape(2 * shards, -1)
    pairs = np.stack([pieces[:shards], pieces[: shards - 1 : -1]], axis=1)
    return pairs.reshape(-1)
  return index


def spans_per_shard(layout: TokenLayout) -> int:
  """Number of spans of consecutive tokens in the shard of a device.

  Tokens of two spans are far apart in the sequence: a tile that straddled them
  would seldom be empty or full. A striped shard counts as one span, its tokens
  being equally far apart.

  >>> spans_per_shard("zigzag"), spans_per_shard("striped")
  (2, 1)
  """
  return 2 if layout == "zigzag" else 1


def check_length(
  what: str,
  length: int,
  layout: TokenLayout,
  shards: int,
  call: str = "permute",
) -> None:
  """Raises ValueError if a length does not divide into the parts of a layout.

  Args:
    what: the axis, as the message calls it.
    length: number of tokens.
    layout: their order.
    shards: number of devices.
    call: the function that the message is from.
  """
  if layout not in LAYOUTS:
    raise ValueError(
      f"{call}: layout must be one of {list(LAYOUTS)}, got {layout!r}"
    )

  pieces = shards * spans_per_shard(layout)
  if length % pieces:
    longer = -(-length // pieces) * pieces
    raise ValueError(
      f"{call}: {what}={length} must be a multiple of {pieces} for the layout"
      f" {layout!r} over {shards} devices; pad to {longer} and hide what is"
      " padded by mask=masks.lengths(...), or take fewer devices: one token at"
      " a time is decoded with attend=attnjax.attend"
    )


def check_positions(
  call: str, name: str, positions, layout: TokenLayout, shards: int
) -> None:
  """Raises ValueError if positions are not in the order of the layout.

  Positions that increase through the array, but would jump in the inverse
  order, belong to tokens that were not permuted. Traced positions cannot be
  checked: the result is still right, for masks compare positions, but the work
  is not shared evenly.
  """
  if layout == "contiguous" or shards == 1:
    return
  remedy = (
    "permute tokens, targets, positions and segment ids once, with"
    " attention.permute(x), and give the positions"
  )
  if positions is None:
    raise ValueError(
      f"{call}: {name} must say where the tokens of a {layout!r} layout stand,"
      f" got None; {remedy}: {name}=attention.permute(np.arange(T)); or take"
      " layout='contiguous'"
    )
  if not is_concrete(positions):
    return

  found = np.asarray(positions)
  ordered = np.take(found, _inverse_order(layout, found.shape[-1], shards), -1)
  if _is_gradual(found) and not _is_gradual(ordered):
    raise ValueError(
      f"{call}: {name} disagree with the layout {layout!r}: they run through"
      f" the array as if it were not permuted; {remedy}, or take"
      " layout='contiguous'"
    )


def is_concrete(x) -> bool:
  """Whether the values of an array are known now, all of them to this process.

  >>> import jax
  >>> import numpy as np
  >>> is_concrete(np.ones(2)), jax.jit(lambda x: is_concrete(x))(1.0).item()
  (True, False)
  """
  return known(x) and getattr(x, "is_fully_addressable", True)


def _is_gradual(positions: np.ndarray) -> bool:
  """Whether positions increase by at most 1; a document may restart at 0."""
  # int64, for the difference of two int32 positions may not be an int32.
  return bool((np.diff(positions.astype(np.int64), axis=-1) <= 1).all())


def _inverse_order(layout: TokenLayout, length: int, shards: int) -> np.ndarray:
  """Index in a permuted array of each token of the sequence."""
  return np.argsort(token_order(layout, length, shards))


def _take_tokens(x, places: np.ndarray, axis: int):
  """`take` along an axis of tokens; numpy stays numpy."""
  if isinstance(x, np.ndarray):
    return np.take(x, places, axis)
  return jnp.take(x, places, axis)


__getattr__ = forward_names(__name__)
