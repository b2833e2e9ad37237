"""Layers of attention as pure functions of their parameters.

`self_attention` has one head; `multi_head_attention` has several, over its
inputs or over a second sequence. Heads are either concatenated and transformed,
or transformed each and added: the two are equal but for rounding.
"""

from collections.abc import Callable, Sequence
from typing import Any, overload

import numpy as np

from attnjax.ops.attention import Aux
from attnjax.ops.attention import attend as default_attend
from attnjax.ops.attention.arguments import AuxNames
from attnjax.ops.cache import KeyValueCache, append
from attnjax.ops.cached_attention import attend_cached
from attnjax.ops.heads import (
  Combine,
  MultiHeadParams,
  SelfAttentionParams,
  combine_heads,
  linear,
  project_heads,
)
from attnjax.ops.masks import Mask
from attnjax.typing import Array, Bool, Float, Int

__all__ = ["decode_attention", "multi_head_attention", "self_attention"]


@overload
def self_attention(
  params: SelfAttentionParams,
  inputs: Float[Array, "*B T M"],
  *,
  aux: tuple[()] = ...,
  attend: Callable = ...,
  **attend_kw: Any,
) -> Array: ...


@overload
def self_attention(
  params: SelfAttentionParams,
  inputs: Float[Array, "*B T M"],
  *,
  aux: AuxNames,
  attend: Callable = ...,
  **attend_kw: Any,
) -> tuple[Array, Aux]: ...


@overload
def self_attention(
  params: SelfAttentionParams,
  inputs: Float[Array, "*B T M"],
  *,
  aux: Sequence[str],
  attend: Callable = ...,
  **attend_kw: Any,
) -> Array | tuple[Array, Aux]: ...


def self_attention(
  params: SelfAttentionParams,
  inputs: Float[Array, "*B T M"],
  *,
  attend: Callable = default_attend,
  **attend_kw,
):
  """Single-head self-attention, softmax(q kᵀ / sqrt(D)) v.

      q, k, v = inputs W_q + b_q, inputs W_k + b_k, inputs W_v + b_v

  Args:
    params: three projections of ``M``.
    inputs: ``*B T M``.
    attend: the attention to call.
    **attend_kw: for it; see `attend`.

  Returns:
    ``*B T E``; with ``aux=`` a pair, as `attend` returns.

  >>> import jax
  >>> import jax.numpy as jnp
  >>> from attnjax.ops.heads import Projection, SelfAttentionParams
  >>> x = jax.random.normal(jax.random.key(0), (5, 2))
  >>> eye = Projection(jnp.eye(2))
  >>> y = self_attention(SelfAttentionParams(eye, eye, eye), x)
  >>> bool((y.max(0) <= x.max(0)).all())  # a weighted average of the inputs
  True

  Reference:
    Lin et al., "A Structured Self-attentive Sentence Embedding", 2017, arXiv
    1703.03130; Vaswani et al., 2017, arXiv 1706.03762, equation 1.
  """
  query, key, value = (linear(p, inputs)[..., None, :] for p in params)
  result = attend(query, key, value, **attend_kw)
  if isinstance(result, tuple):
    return result[0][..., 0, :], result[1]
  return result[..., 0, :]


@overload
def multi_head_attention(
  params: MultiHeadParams,
  inputs: Float[Array, "*B T M"],
  memory: Float[Array, "*B S M"] | None = ...,
  *,
  aux: tuple[()] = ...,
  positions: Int[Array | np.ndarray, "..."] | None = ...,
  memory_positions: Int[Array | np.ndarray, "..."] | None = ...,
  position_encoding: Callable | None = ...,
  combine: Combine = ...,
  attend: Callable = ...,
  **attend_kw: Any,
) -> Array: ...


@overload
def multi_head_attention(
  params: MultiHeadParams,
  inputs: Float[Array, "*B T M"],
  memory: Float[Array, "*B S M"] | None = ...,
  *,
  aux: AuxNames,
  positions: Int[Array | np.ndarray, "..."] | None = ...,
  memory_positions: Int[Array | np.ndarray, "..."] | None = ...,
  position_encoding: Callable | None = ...,
  combine: Combine = ...,
  attend: Callable = ...,
  **attend_kw: Any,
) -> tuple[Array, Aux]: ...


@overload
def multi_head_attention(
  params: MultiHeadParams,
  inputs: Float[Array, "*B T M"],
  memory: Float[Array, "*B S M"] | None = ...,
  *,
  aux: Sequence[str],
  positions: Int[Array | np.ndarray, "..."] | None = ...,
  memory_positions: Int[Array | np.ndarray, "..."] | None = ...,
  position_encoding: Callable | None = ...,
  combine: Combine = ...,
  attend: Callable = ...,
  **attend_kw: Any,
) -> Array | tuple[Array, Aux]: ...


def multi_head_attention(
  params: MultiHeadParams,
  inputs: Float[Array, "*B T M"],
  memory: Float[Array, "*B S M"] | None = None,
  *,
  positions: Int[Array | np.ndarray, "..."] | None = None,
  memory_positions: Int[Array | np.ndarray, "..."] | None = None,
  position_encoding: Callable | None = None,
  query_norm: Callable | None = None,
  key_norm: Callable | None = None,
  combine: Combine = "concatenate",
  attend: Callable = default_attend,
  **attend_kw,
):
  """Multi-head attention of inputs over themselves or over a memory.

      head[h] = attend(inputs W_q[h], memory W_k[h // G], memory W_v[h // G])
      out     = concat(head[0], ..., head[H-1]) W_o + b_o
              = Σ_h head[h] W_o[h] + b_o

  Args:
    params: projections to heads and back.
    inputs: ``*B T M``, from which queries are projected.
    memory: ``*B S M``, from which keys and values are projected; None is the
      inputs: self-attention.
    positions: int ``*B T`` of the inputs; None is 0, 1, 2...
    memory_positions: int ``*B S``; None is `positions` in self-attention and
      0, 1, 2... else.
    position_encoding: ``(x, positions) -> x`` for queries and keys, such as
      `positions.Rotary()`.
    query_norm: ``x -> x`` on queries before that, such as an RMS norm of each
      head; None is none.
    key_norm: the same on keys.
    combine: "concatenate" the heads and transform, or transform each and
      "sum"; equal but for rounding.
    attend: the attention to call.
    **attend_kw: for it; see `attend`.

  Returns:
    ``*B T M``; with ``aux=`` a pair, as `attend` returns.

  Raises:
    ValueError: if `combine` is neither of the two.

  >>> import jax
  >>> import jax.numpy as jnp
  >>> from attnjax.ops.heads import MultiHeadParams, Projection
  >>> keys = jax.random.split(jax.random.key(0), 5)
  >>> up = [Projection(jax.random.normal(k, (6, 2, 3))) for k in keys[:3]]
  >>> down = Projection(jax.random.normal(keys[3], (2, 3, 6)))
  >>> params = MultiHeadParams(*up, down)
  >>> x = jax.random.normal(keys[4], (5, 6))
  >>> both = [multi_head_attention(params, x, combine=how)
  ...         for how in ("concatenate", "sum")]
  >>> bool(jnp.allclose(*both, atol=1e-4))
  True

  Reference:
    Vaswani et al., "Attention Is All You Need", 2017, arXiv 1706.03762,
    section 3.2.2. Norms of queries and keys: Henry et al., "Query-Key
    Normalization for Transformers", 2020, arXiv 2010.04245. The sum: Elhage et
    al., "A Mathematical Framework for Transformer Circuits", 2021.
  """
  if memory is None and memory_positions is None:
    memory_positions = positions

  query, key, value = project_heads(params, inputs, memory)
  query, key = _normed(query, query_norm), _normed(key, key_norm)
  if position_encoding is not None:
    query = position_encoding(query, _or_range(positions, query))
    key = position_encoding(key, _or_range(memory_positions, key))

  result = attend(
    query,
    key,
    value,
    query_positions=positions,
    key_positions=memory_positions,
    **attend_kw,
  )
  heads, *aux = result if isinstance(result, tuple) else (result,)
  out = combine_heads(params.output, heads, combine)
  return (out, *aux) if aux else out


def decode_attention(
  params: MultiHeadParams,
  inputs: Float[Array, "*B T M"],
  cache: KeyValueCache,
  *,
  lengths: Int[Array, "*B"] | None = None,
  mask: Mask | Bool[Array | np.ndarray, "..."] | None = None,
  position_encoding: Callable | None = None,
  query_norm: Callable | None = None,
  key_norm: Callable | None = None,
  combine: Combine = "concatenate",
  store: Callable = append,
  attend: Callable = default_attend,
  **attend_kw,
):
  """Multi-head self-attention of new tokens over a key-value cache.

  It serves a prompt (T > 1) and one token at a time (T = 1): the cache counts
  the positions, and the mask is evaluated at positions.

  Args:
    params: projections to heads and back.
    inputs: ``*B T M``, the next tokens of each row.
    cache: what was read so far.
    lengths: int ``*B``, how many of the T are real; None is all.
    mask: None is causal; with `cache.roll` and a capacity of C that is
      ``sliding_window(C - 1)``. A boolean array, alone or composed with a mask,
      is looked up by index: its columns are the slots of the cache.
    position_encoding: as in `multi_head_attention`.
    query_norm: as in `multi_head_attention`.
    key_norm: as in `multi_head_attention`.
    combine: as in `multi_head_attention`.
    store: `cache.append`, which refuses an overflow, or `cache.roll`, with
      which each query sees the C tokens up to its own, however many come.
    attend: the attention to call.
    **attend_kw: for it; see `attend`.

  Returns:
    ``*B T M``, and the cache that holds the new tokens too; with ``aux=`` a
    triple, whose keys are the slots of the cache, followed by the T new tokens
    where several roll in at once. Where it is known only at run time that a
    query may see what the cache has forgotten, its row is NaN.

  Raises:
    ValueError: if more tokens come at once than the cache has slots, `attend`
      has them in another order than the cache, or the mask looks further back
      than the cache goes.

  >>> import jax.numpy as jnp
  >>> from attnjax import cache
  >>> from attnjax.ops.heads import MultiHeadParams, Projection
  >>> up = Projection(jnp.ones((6, 2, 3)))
  >>> down = Projection(jnp.ones((2, 3, 6)))
  >>> state = cache.init((), capacity=4, heads=2, width=3)
  >>> params = MultiHeadParams(up, up, up, down)
  >>> out, state = decode_attention(params, jnp.ones((3, 6)), state)
  >>> out.shape, int(state.length)
  ((3, 6), 3)
  """
  query, key, value = project_heads(params, inputs, None)
  query, key = _normed(query, query_norm), _normed(key, key_norm)
  if position_encoding is not None:
    positions = cache.next_positions(inputs.shape[-2])
    query, key = (position_encoding(x, positions) for x in (query, key))

  heads, new, *aux = attend_cached(
    query,
    key,
    value,
    cache,
    lengths=lengths,
    mask=mask,
    store=store,
    attend=attend,
    **attend_kw,
  )
  return (combine_heads(params.output, heads, combine), new, *aux)


def _normed(x, norm: Callable | None):
  """Queries or keys after their norm, if there is one."""
  return x if norm is None else norm(x)


def _or_range(positions, x):
  """Positions, or 0, 1, 2... along the length of ``*B T H D``."""
  if positions is not None:
    return positions
  return np.arange(x.shape[-3], dtype=np.int32)  # known while tracing
