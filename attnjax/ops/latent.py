"""Multi-head latent attention: keys and values of all heads from one vector.

A token leaves two vectors for later ones: a latent of Z features, from which
the keys and the values of all heads are mapped, and one rotated key of R
features, which all heads share. There are two ways to attend. Expanded, every
head has keys and values of its own, mapped from the latents. Absorbed, the
latent itself is the key and the value of one head, K = 1, and the maps are
applied to queries and outputs instead: fewer operations where queries are few.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from attnjax.ops.attention import attend as default_attend
from attnjax.ops.cache import KeyValueCache
from attnjax.ops.cached_attention import attend_cached
from attnjax.ops.heads import Projection, combine_heads, linear
from attnjax.ops.masks import Mask
from attnjax.ops.scoring import scaled_dot
from attnjax.typing import Array, Bool, Float, Int

__all__ = ["LatentParams", "decode_latent_attention", "latent_attention"]


class LatentParams(NamedTuple):
  """Parameters of latent attention, with D = N + R features of a query.

  `query` is ``M H D``, or ``Q H D`` after `query_latent`, ``M Q``; `key`
  ``Z H N``; `value` ``Z H E``; kernels of `latent` are ``M Z``, of `rotary_key`
  ``M R``, of `output` ``H E M``. The last R features of a query meet the
  rotated key.

  >>> import jax.numpy as jnp
  >>> from attnjax.ops.heads import Projection
  >>> one, linear = jnp.ones, lambda *shape: Projection(jnp.ones(shape))
  >>> params = LatentParams(
  ...   one((7, 2, 5)), one((4, 2, 3)), one((4, 2, 6)), linear(7, 4),
  ...   linear(7, 2), linear(2, 6, 7))
  >>> params.query_latent is None
  True
  """

  query: Float[Array, "_ H D"]
  key: Float[Array, "_ H _"]
  value: Float[Array, "_ H E"]
  latent: Projection
  rotary_key: Projection
  output: Projection
  query_latent: Projection | None = None


def latent_attention(
  params: LatentParams,
  inputs: Float[Array, "*B T M"],
  *,
  positions: Int[Array | np.ndarray, "..."] | None = None,
  position_encoding: Callable | None = None,
  query_norm: Callable | None = None,
  latent_norm: Callable | None = None,
  scale: float | None = None,
  absorbed: bool | None = None,
  attend: Callable = default_attend,
  **attend_kw,
):
  """Multi-head latent attention of inputs over themselves.

      c[s]   = norm(x[s] W_c)                               Z features
      k[s,h] = c[s] W_k[h] ‖ rotate(x[s] W_r)               N + R
      v[s,h] = c[s] W_v[h]                                  E
      q[t,h] = u[t] W_q[h], u = x or norm(x W_u), its last R rotated
      out[t] = Σ_h softmax_s(scale q[t,h] · k[s,h]) v[s,h] W_o[h]

  Absorbed the same sums are taken in another order: q[t,h] W_k[h]ᵀ meets c[s],
  and the weighted sum of c[s] is mapped by W_v[h].

  Args:
    params: the projections.
    inputs: ``*B T M``.
    positions: int ``*B T``; None is 0, 1, 2...
    position_encoding: ``(x, positions) -> x`` for arrays ``*B T H R``.
    query_norm: ``u -> u`` on the latent of queries; None is none.
    latent_norm: the same on that of keys and values.
    scale: of the logits; None is 1 / sqrt(N + R).
    absorbed: which of the two ways; None is that of fewer multiplications.
    attend: the attention to call.
    **attend_kw: for it; see `attend`.

  Returns:
    ``*B T M``; with ``aux=`` a pair, as `attend` returns.

  >>> import jax
  >>> import jax.numpy as jnp
  >>> from attnjax.ops.heads import Projection
  >>> shapes = (7, 2, 5), (4, 2, 3), (4, 2, 6), (7, 4), (7, 2), (2, 6, 7)
  >>> keys = jax.random.split(jax.random.key(0), 6)
  >>> drawn = [*map(jax.random.normal, keys, shapes)]
  >>> params = LatentParams(*drawn[:3], *map(Projection, drawn[3:]))
  >>> x = jax.random.normal(jax.random.key(1), (5, 7))
  >>> both = [latent_attention(params, x, absorbed=a) for a in (False, True)]
  >>> bool(jnp.allclose(*both, rtol=1e-4, atol=1e-3))
  True

  Reference:
    DeepSeek-AI, "DeepSeek-V2: A Strong, Economical, and Efficient
    Mixture-of-Experts Language Model", 2024, arXiv 2405.04434, section 2.1 and
    equations 37 to 47.
  """
  at = positions
  if at is None:
    at = np.arange(inputs.shape[-2], dtype=np.int32)
  query, key, latent = _project(
    params, inputs, at, position_encoding, query_norm, latent_norm
  )
  count = inputs.shape[-2]
  if absorbed is None:
    absorbed = _absorbing_is_less(params, count, count)

  result = attend(
    _absorbed_query(params, query) if absorbed else query,
    *_unpack(params, absorbed)(key, latent),
    scoring=_scoring(params, scale),
    query_positions=positions,
    key_positions=positions,
    **attend_kw,
  )
  heads, *aux = result if isinstance(result, tuple) else (result,)
  out = _output(params, heads, absorbed)
  return (out, *aux) if aux else out


def decode_latent_attention(
  params: LatentParams,
  inputs: Float[Array, "*B T M"],
  cache: KeyValueCache,
  *,
  lengths: Int[Array, "*B"] | None = None,
  mask: Mask | Bool[Array | np.ndarray, "..."] | None = None,
  position_encoding: Callable | None = None,
  query_norm: Callable | None = None,
  latent_norm: Callable | None = None,
  scale: float | None = None,
  absorbed: bool | None = None,
  attend: Callable = default_attend,
  **attend_kw,
):
  """Multi-head latent attention of new tokens over a cache.

  A slot of the cache has Z + R numbers: the latent as its value and the rotated
  key as its key, ``cache.init(batch, capacity, 1, R, value_width=Z)``.

  Args:
    params: the projections.
    inputs: ``*B T M``, the next tokens of each row.
    cache: what was read so far.
    lengths: int ``*B``, how many of the T are real; None is all.
    mask: None is causal; see `decode_attention`.
    position_encoding: as in `latent_attention`.
    query_norm: as in `latent_attention`.
    latent_norm: as in `latent_attention`.
    scale: as in `latent_attention`.
    absorbed: as in `latent_attention`; None is yes for one token, and no for
      a prompt that fills the cache.
    attend: the attention to call.
    **attend_kw: for it; see `attend`.

  Returns:
    ``*B T M``, and the cache that holds the new tokens too; with ``aux=`` a
    triple.

  Raises:
    ValueError: as `decode_attention`.

  >>> import jax.numpy as jnp
  >>> from attnjax import cache
  >>> from attnjax.ops.heads import Projection
  >>> one, linear = jnp.ones, lambda *shape: Projection(jnp.ones(shape))
  >>> params = LatentParams(
  ...   one((7, 2, 5)), one((4, 2, 3)), one((4, 2, 6)), linear(7, 4),
  ...   linear(7, 2), linear(2, 6, 7))
  >>> state = cache.init((), 8, 1, 2, value_width=4)
  >>> out, state = decode_latent_attention(params, jnp.ones((3, 7)), state)
  >>> out.shape, int(state.length)
  ((3, 7), 3)
  """
  count = inputs.shape[-2]
  query, key, latent = _project(
    params,
    inputs,
    cache.next_positions(count),
    position_encoding,
    query_norm,
    latent_norm,
  )
  if absorbed is None:
    absorbed = _absorbing_is_less(params, count, cache.capacity)

  heads, new, *aux = attend_cached(
    _absorbed_query(params, query) if absorbed else query,
    key,
    latent,
    cache,
    lengths=lengths,
    mask=mask,
    unpack=_unpack(params, absorbed),
    attend=attend,
    scoring=_scoring(params, scale),
    **attend_kw,
  )
  return (_output(params, heads, absorbed), new, *aux)


def _project(params, inputs, positions, encoding, query_norm, latent_norm):
  """Queries ``*B T H D``, rotated keys ``*B T 1 R``, latents ``*B T 1 Z``."""
  normed = lambda x, norm: x if norm is None else norm(x)
  source = inputs
  if params.query_latent is not None:
    source = normed(linear(params.query_latent, inputs), query_norm)
  latent = normed(linear(params.latent, inputs), latent_norm)
  key = linear(params.rotary_key, inputs)[..., None, :]
  with jax.named_scope("project"):
    query = jnp.einsum("...tm,mhd->...thd", source, params.query)
  if encoding is not None:
    plain = params.key.shape[-1]
    turned = encoding(query[..., plain:], positions)
    query = jnp.concatenate([query[..., :plain], turned], axis=-1)
    key = encoding(key, positions)
  return query, key, latent[..., None, :]


def _absorbed_query(params, query):
  """Queries that meet latents: q W_kᵀ and the rotated rest, ``*B T H Z+R``."""
  plain = params.key.shape[-1]
  with jax.named_scope("project"):
    met = jnp.einsum("...thn,zhn->...thz", query[..., :plain], params.key)
  return jnp.concatenate([met, query[..., plain:]], axis=-1)


def _unpack(params, absorbed: bool) -> Callable:
  """From rotated keys and latents to the keys and values of a way."""

  def one_head(key, latent):
    return jnp.concatenate([latent, key], axis=-1), latent

  def every_head(key, latent):
    with jax.named_scope("project"):
      spread = lambda kernel: jnp.einsum(
        "...sz,zhd->...shd", latent[..., 0, :], kernel
      )
      plain, value = spread(params.key), spread(params.value)
    shared = jnp.broadcast_to(key, (*plain.shape[:-1], key.shape[-1]))
    return jnp.concatenate([plain, shared], axis=-1), value

  return one_head if absorbed else every_head


def _output(params, heads, absorbed: bool):
  """The output of the heads, whose values are latents if absorbed."""
  if absorbed:
    with jax.named_scope("project"):
      heads = jnp.einsum("...thz,zhe->...the", heads, params.value)
  return combine_heads(params.output, heads, "concatenate")


def _scoring(params, scale: float | None):
  """Scaled dot products; the width that scales is that of expanded queries."""
  width = params.query.shape[-1]
  return scaled_dot(1 / math.sqrt(width) if scale is None else scale)


def _absorbing_is_less(params, queries: int, keys: int) -> bool:
  """Whether absorbing takes fewer multiplications a head."""
  latent, _, plain = params.key.shape
  value, rotary = params.value.shape[-1], params.rotary_key.kernel.shape[-1]
  maps = latent * (plain + value)
  expanded = keys * maps + queries * keys * (plain + rotary + value)
  return queries * maps + queries * keys * (2 * latent + rotary) < expanded
