"""Attention as it is defined: every logit at once, O(T S) memory.

It honours the whole contract at any precision. Where the weights themselves are
asked for, they are T x S, and this is how they are made.
"""

import dataclasses
import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from attnjax.ops.attention.arguments import Aux, Call
from attnjax.ops.attention.dropout import kept
from attnjax.ops.attention.explicit_sharding import (
  Split,
  on_each_device,
  refusal,
  split_of,
)
from attnjax.ops.attention.logits import logits, seen_by
from attnjax.ops.grid import Grid
from attnjax.typing import Array, Float

__all__ = ["Reference", "logits_of", "weights_of"]

_ALONG_TOKENS = ("query_position", "key_position", "query_index", "key_index")


@dataclasses.dataclass(frozen=True)
class Reference:
  """Every logit at once: out[t, h] = Σ_s w[h, t, s] value[s, h // G]."""

  def refuses(self, call: Call) -> str | None:
    """None: it honours every call, in T x S memory, but of divided tokens."""
    return refusal(call)

  def describes(self, call: Call) -> str:
    """How it computes a call."""
    size = math.prod(call.shape) * call.logits_dtype.itemsize
    if not isinstance(size, int):  # a size that jax.export leaves open
      return f"every logit at once: {size} bytes of them"
    return f"every logit at once: {_bytes(size)} of them"

  def __call__(self, call: Call) -> tuple[Float[Array, "B T H E"], Aux]:
    """(out, aux) of the whole call."""
    return _divided(_attend, call, call.grid(), ("b.h", "bh"))


def weights_of(call: Call, grid: Grid) -> Float[Array, "B H T S"]:
  """The weights of every query of a call that stands on a grid."""
  return _divided(_weights, call, grid, "bh")


def logits_of(call: Call, grid: Grid) -> Float[Array, "B H T S"]:
  """The logits of every query of a call that stands on a grid."""
  return _divided(_scores, call, grid, "bh")


def _attend(call: Call, grid: Grid) -> tuple[Array, Aux]:
  """(out, aux) of a call that stands on a grid."""
  scores, value = _logits(call, grid)
  weights, logsumexp = call.normalizer(scores)

  # Dropout thins what is read; the weights of the aux stay whole.
  read = weights
  if call.dropout_words is not None:
    rate, shared = call.dropout_rate, call.dropout_shared
    keep = kept(call.dropout_words, rate, grid, shared)
    read = jnp.where(keep, weights / (1 - rate), 0)

  batch, heads, length, keys = call.shape
  grouped = read.reshape((batch, heads // call.group, call.group, length, keys))
  out = jnp.einsum(
    "bkgts,bkse->btkge",
    grouped,
    value.astype(call.logits_dtype),
    precision=call.precision,
  )
  out = out.reshape((batch, length, heads, value.shape[-1]))

  aux = _aux(call, scores, weights, logsumexp)
  return out.astype(call.value.dtype), aux


def _weights(call: Call, grid: Grid) -> Float[Array, "B H T S"]:
  """The weights of a call that stands on a grid."""
  return call.normalizer(_logits(call, grid)[0])[0]


def _scores(call: Call, grid: Grid) -> Float[Array, "B H T S"]:
  """The logits of a call that stands on a grid."""
  return _logits(call, grid)[0]


def _divided(function: Callable, call: Call, grid: Grid, layouts):
  """A function of a call and a grid, of which each device computes its part."""
  split = split_of(call)
  if split is None:
    return function(call, grid)
  return _on_each_device(function, call, grid, split, layouts)


@functools.partial(jax.jit, static_argnums=(0, 3, 4))
def _on_each_device(function, call: Call, grid: Grid, split: Split, layouts):
  """The same, where types say that arrays are divided."""
  at = [getattr(grid, name) for name in _ALONG_TOKENS]

  def here(call: Call, batch, head, *at):
    where = dict(zip(_ALONG_TOKENS, at, strict=True))
    batch, head = batch.reshape(-1, 1, 1, 1), head.reshape(1, -1, 1, 1)
    return function(call, Grid(batch=batch, head=head, **where))

  specs = jax.tree.map(split.spec, layouts)
  more = [(x, "b..." if x.shape[0] > 1 else "....") for x in at]
  return on_each_device(here, call, split, specs, *more)


def _logits(call: Call, grid: Grid) -> tuple[Float[Array, "B H T S"], Array]:
  """The logits, and the values ``B K S E``."""
  query, key, value = call.prepared()
  scores = call.scoring.score(query, key, call.precision).reshape(call.shape)
  seen = seen_by(call.rules, grid)
  return logits(scores, call.rules, grid, seen), value


def _aux(call: Call, scores, weights, logsumexp) -> Aux:
  """Computes the extra results that were asked for, and no other."""
  asked = {}
  if "logsumexp" in call.aux:
    asked["logsumexp"] = logsumexp
  if "weights" in call.aux:
    asked["weights"] = weights
  if "entropy" in call.aux:
    # -Σ w log w; where the weight is 0 so is its share, in value and gradient.
    # Second derivatives have 1 / w², which overflows below this root, and such
    # a share is below 1e-17 in float32.
    held = weights > float(jnp.finfo(weights.dtype).tiny) ** 0.5
    log = jnp.log(jnp.where(held, weights, 1))
    asked["entropy"] = -jnp.sum(weights * log, axis=-1)
  if "max_logit" in call.aux:
    asked["max_logit"] = _largest(scores)
  return Aux(**asked)


def _largest(scores: Float[Array, "B H T S"]) -> Float[Array, "B H T"]:
  """The largest logit of each row; of a row that sees none it is -inf."""
  if scores.shape[-1] == 0:
    return jnp.full(scores.shape[:-1], -jnp.inf, scores.dtype)
  where = jnp.argmax(scores, axis=-1)[..., None]
  largest = jnp.take_along_axis(scores, where, axis=-1)[..., 0]
  # A bias of -inf hides too: such a row has no largest logit to move.
  return jnp.where(
    jnp.isneginf(largest), jax.lax.stop_gradient(largest), largest
  )


def _bytes(size: int) -> str:
  """A number of bytes for people."""
  unit = min((size.bit_length() - 1) // 10, 4) if size else 0
  return (
    f"{size / 2 ** (10 * unit):.3g} {('B', 'KiB', 'MiB', 'GiB', 'TiB')[unit]}"
  )
