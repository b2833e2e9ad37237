"""Memory of key-value slots, read and written by attention (Turing machine)."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from attnjax.ops.attention import attend as default_attend
from attnjax.ops.attention import attention_weights
from attnjax.typing import Array, Float

__all__ = ["Slots", "read", "write"]


class Slots(NamedTuple):
  """A store of S key-value pairs; leading axes broadcast to those of queries.

  Args:
    key: ``*#B S D``, scored against a query.
    value: ``*#B S E``, content of the slots.

  >>> import jax.numpy as jnp
  >>> store = Slots(jnp.eye(3), jnp.zeros((3, 2)))
  >>> read(store, jnp.ones((5, 3))).shape
  (5, 2)
  """

  key: Float[Array, "*#B S D"]
  value: Float[Array, "*#B S E"]


def read(
  slots: Slots,
  query: Float[Array, "*B T D"],
  *,
  attend: Callable = default_attend,
  **attend_kw,
):
  """Reads slots by content: attention of the queries over the keys.

      out[t] = Σ_s softmax_s(score(query[t], key[s])) value[s]

  Addressing by content, with any scoring: `scoring.cosine(temperature)` is that
  of a Neural Turing Machine, whose sharpness is 1 / temperature, and
  `scoring.dot()` that of a memory network. Where a query is a stored unit key
  with Gaussian noise of variance σ² on each feature, `scaled_dot(1 / σ²)` makes
  the weights the posterior probability of each slot.

  Args:
    slots: the store, one for all rows or one a row.
    query: ``*B T D``.
    attend: the attention to call.
    **attend_kw: for it; see `attend`.

  Returns:
    ``*B T E``; with ``aux=`` a pair, as `attend` returns.

  >>> import jax.numpy as jnp
  >>> from attnjax import scoring
  >>> store = Slots(jnp.eye(3), jnp.array([[10.0], [20.0], [30.0]]))
  >>> sharp = scoring.cosine(temperature=0.01)
  >>> read(store, jnp.array([[0.1, 0.9, 0.2]]), scoring=sharp).tolist()
  [[20.0]]

  Reference:
    Graves, Wayne, Danihelka, "Neural Turing Machines", 2014, arXiv 1410.5401,
    equations 2, 5 and 6; Sukhbaatar et al., "End-To-End Memory Networks", 2015,
    arXiv 1503.08895, equations 1 and 2.
  """
  rows = query.shape[:-2]
  key, value = (
    jnp.broadcast_to(x, (*rows, *x.shape[-2:]))[..., None, :] for x in slots
  )

  # `attend` takes a head axis: here of size 1.
  result = attend(query[..., None, :], key, value, **attend_kw)
  if isinstance(result, tuple):
    return result[0][..., 0, :], result[1]
  return result[..., 0, :]


def write(
  slots: Slots,
  address: Float[Array, "*B T D"],
  value: Float[Array, "*B T E"],
  **attend_kw,
) -> Slots:
  """Writes values to slots by content: erase, then add, by attention weights.

      value[s] <- (1 - Σ_t w[t, s]) value[s] + Σ_t w[t, s] new[t]

  with w the attention weights of the addresses: a slot is erased by as much as
  is written to it. Keys do not change. All writes of a call happen at once;
  where several go to one slot, Σ_t w > 1 would flip the sign of its value, so
  make one call for each.

  Args:
    slots: the store.
    address: ``*B T D``, where to write, scored against the keys.
    value: ``*B T E``, what to write.
    **attend_kw: for `attention_weights`: scoring, mask...

  Returns:
    A new store, one a row of the addresses.

  A value that is written with a sharp address is read back:

  >>> import jax.numpy as jnp
  >>> from attnjax import scoring
  >>> store = Slots(jnp.eye(3), jnp.zeros((3, 1)))
  >>> sharp = {"scoring": scoring.cosine(temperature=0.01)}
  >>> at = jnp.array([[0.0, 1.0, 0.0]])
  >>> store = write(store, at, jnp.array([[7.0]]), **sharp)
  >>> read(store, at, **sharp).tolist(), store.value.tolist()
  ([[7.0]], [[0.0], [7.0], [0.0]])

  Reference:
    Graves, Wayne, Danihelka, "Neural Turing Machines", 2014, arXiv 1410.5401,
    equations 3 and 4, with an erase vector of ones.
  """
  rows = address.shape[:-2]
  key, old = (jnp.broadcast_to(x, (*rows, *x.shape[-2:])) for x in slots)

  weights = attention_weights(
    address[..., None, :], key[..., None, :], **attend_kw
  )[..., 0, :, :]
  weights = weights.astype(old.dtype)

  # Summed over the writes: all of them see the slots as they were.
  kept = old * (1 - weights.sum(-2))[..., None]
  return Slots(key, kept + jnp.einsum("...ts,...te->...se", weights, value))
