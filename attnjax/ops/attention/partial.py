"""Attention over some of the keys, and how such parts become the whole."""

import functools
from collections.abc import Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from attnjax.typing import Array, Float

__all__ = ["Partial", "merge"]


class Partial(NamedTuple):
  """What a query read from some of the keys, and how much weight they hold.

  Args:
    out: ``*B T H E``, of a softmax over these keys.
    logsumexp: ``*B H T``, log Σ_s exp(logit) over these keys; -inf of none.

  >>> import attnjax, jax
  >>> x = jax.random.normal(jax.random.key(0), (4, 1, 2))
  >>> out, aux = attnjax.attend(x, x[:2], x[:2], aux=("logsumexp",))
  >>> attnjax.Partial(out, aux.logsumexp).out.shape
  (4, 1, 2)
  """

  out: Float[Array, "*B T H E"]
  logsumexp: Float[Array, "*B H T"]


def merge(partials: Iterable[Partial]) -> Partial:
  """Attention over all the keys of parts that share none.

      L = log Σ_p exp(L[p]),   out = Σ_p exp(L[p] - L) out[p]

  Associative and commutative but for rounding; a part that sees nothing changes
  nothing. Of a plain softmax: a sink or a plus one is applied to the whole.

  Args:
    partials: at least one, of equal shapes.

  Returns:
    The whole, in the dtype of the first output.

  Raises:
    ValueError: if there is no part, or their shapes differ.

  >>> import jax.numpy as jnp
  >>> import attnjax, jax
  >>> x = jax.random.normal(jax.random.key(0), (5, 1, 2))
  >>> def over(keys):
  ...   out, aux = attnjax.attend(x, keys, keys, aux=("logsumexp",))
  ...   return Partial(out, aux.logsumexp)
  >>> whole = merge([over(x[:2]), over(x[2:])])
  >>> bool(jnp.allclose(whole.out, over(x).out, atol=1e-5))
  True

  Reference:
    Rabe, Staats, "Self-attention Does Not Need O(n²) Memory", 2021, arXiv
    2112.05682, section 3.
  """
  partials = tuple(partials)
  shapes = {(jnp.shape(p.out), jnp.shape(p.logsumexp)) for p in partials}
  if len(shapes) != 1:
    raise ValueError(
      "merge: expected one or more partials of equal shapes, got"
      f" {sorted(shapes) or 'none'}"
    )
  with jax.named_scope("merge"):
    return functools.reduce(_pair, partials)


def _pair(one: Partial, other: Partial) -> Partial:
  """Two parts as one; neither may be of a row that sees nothing."""
  # jnp.logaddexp of two -inf has a gradient of NaN; of these, 0.
  empty = jnp.isneginf(one.logsumexp) & jnp.isneginf(other.logsumexp)
  safe = lambda x: jnp.where(empty, 0, x)
  first, second = safe(one.logsumexp), safe(other.logsumexp)
  total = jnp.logaddexp(first, second)
  # Of their difference, and not exp(L[p] - L): where L is so large that it has
  # no room for a log 2, those would add up to 2.
  share = lambda ahead: _over_values(
    jnp.where(empty, 0, jax.nn.sigmoid(ahead)).astype(total.dtype)
  )
  of = lambda part, ahead: share(ahead) * part.out.astype(total.dtype)
  out = of(one, first - second) + of(other, second - first)
  logsumexp = jnp.where(empty, -jnp.inf, total)
  return Partial(out.astype(one.out.dtype), logsumexp)


def _over_values(x: Float[Array, "*B H T"]) -> Float[Array, "*B T H 1"]:
  """A number a row, beside the values of the row."""
  return jnp.swapaxes(x, -1, -2)[..., None]
