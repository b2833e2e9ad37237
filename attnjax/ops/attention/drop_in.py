"""`dot_product_attention` as JAX and Flax call it."""

import math

import jax.numpy as jnp

from attnjax.ops import masks
from attnjax.ops.attention import check
from attnjax.ops.attention.api import attend
from attnjax.ops.integers import known
from attnjax.ops.scoring import scaled_dot

__all__ = ["dot_product_attention"]


def dot_product_attention(
  query,
  key,
  value,
  bias=None,
  mask=None,
  *,
  scale=None,
  is_causal=False,
  query_seq_lengths=None,
  key_value_seq_lengths=None,
  local_window_size=None,
  implementation=None,
  return_residual=False,
  broadcast_dropout=False,
  dropout_rng=None,
  dropout_rate=0.0,
  deterministic=False,
  dtype=None,
  precision=None,
  module=None,
):
  """Scaled dot-product attention, called as `jax.nn.dot_product_attention`.

  Also an ``attention_fn=`` of `flax.nnx.MultiHeadAttention` and of
  `flax.linen.MultiHeadDotProductAttention`. It differs in meaning in one place:
  a query that may see nothing reads 0, not the mean of all values.

  Args:
    query: ``*B T H D``.
    key: ``*B S K D``; K divides H.
    value: ``*B S K E``.
    bias: logits to add, broadcastable to ``*B H T S``.
    mask: bool (or 0 and 1, as Flax makes them), true where a query may look,
      broadcastable to ``*B H T S``.
    scale: of the logits; None is 1 / sqrt(D).
    is_causal: a query sees keys at its own index and before.
    query_seq_lengths: int ``B``; later queries read 0.
    key_value_seq_lengths: int ``B``; later keys are hidden.
    local_window_size: (left, right), or one int for both sides.
    implementation: as in `attend`: None, or a name of ours.
    return_residual: also return the log-sum-exp ``*B T H``, in float32.
    broadcast_dropout: must be False where there is dropout: each weight is
      dropped by itself.
    dropout_rng: a JAX random key.
    dropout_rate: share of the weights to drop.
    deterministic: true drops nothing.
    dtype: to cast query, key and value to.
    precision: of the matrix products.
    module: must be None: see `attention_weights` for the weights.

  Returns:
    ``*B T H E``; with `return_residual` a pair.

  Raises:
    ValueError: an argument does not fit; or `is_causal` beside a mask where T
      and S differ: one of them counts from another end than the other.
    NotImplementedError: shared dropout, or weights sown into a module.

  >>> import jax
  >>> x = jax.random.normal(jax.random.key(0), (2, 5, 3, 4))
  >>> ours = dot_product_attention(x, x, x, is_causal=True)
  >>> theirs = jax.nn.dot_product_attention(x, x, x, is_causal=True)
  >>> bool(jnp.allclose(ours, theirs, atol=1e-5))
  True
  """
  if module is not None:
    raise NotImplementedError(
      "dot_product_attention: weights are not sown into a module; call"
      " attnjax.attention_weights for the rows you want to see"
    )
  dropout_rate = 0.0 if deterministic else dropout_rate
  if dropout_rate and broadcast_dropout:
    raise NotImplementedError(
      "dot_product_attention: broadcast_dropout=True shares one mask among"
      " batch and heads; give broadcast_dropout=False to the module"
    )
  if dtype is not None:
    query, key, value = (jnp.asarray(x, dtype) for x in (query, key, value))
  rule = _rule(is_causal, local_window_size)
  if query_seq_lengths is not None or key_value_seq_lengths is not None:
    lengths = masks.lengths(query_seq_lengths, key_value_seq_lengths)
    rule = lengths if rule is None else rule & lengths
  if mask is not None:
    query, key, value = map(jnp.asarray, (query, key, value))
    check.arrays(query, key, value)
    *batch, length, heads, _ = query.shape
    sizes = length, key.shape[-3]
    if is_causal and sizes[0] != sizes[1]:
      raise ValueError(
        "dot_product_attention: is_causal=True counts queries and keys from"
        f" index 0, so of T={sizes[0]} queries and S={sizes[1]} keys the mask"
        " means other pairs; drop is_causal if the mask hides the future, or"
        " call attnjax.attend with mask=masks.causal() and query_positions="
      )
    rule = _with_table(rule, _truth(mask), (*batch, heads, *sizes))
  out, aux = attend(
    query,
    key,
    value,
    mask=rule,
    bias=bias,
    scoring=scaled_dot(scale),
    dropout_rate=dropout_rate,
    dropout_key=dropout_rng,
    precision=precision,
    aux=("logsumexp",),
    implementation=implementation,
  )
  if not return_residual:
    return out
  return out, jnp.swapaxes(aux.logsumexp, -1, -2)


def _rule(is_causal: bool, window) -> masks.Mask | None:
  """The mask that these two options mean."""
  rule = masks.causal() if is_causal else None
  if window is None:
    return rule
  left, right = (window, window) if isinstance(window, int) else window
  near = masks.sliding_window(left, right)
  return near if rule is None else rule & near


def _truth(mask):
  """A mask as booleans: Flax makes its masks of the numbers 0 and 1."""
  mask = jnp.asarray(mask)
  if mask.dtype != bool and known(mask) and ((mask != 0) & (mask != 1)).any():
    raise ValueError(
      "dot_product_attention: mask must be boolean (or 0 and 1), got"
      f" {mask.dtype} of other values; logits to add are bias="
    )
  return mask.astype(bool)


def _with_table(rule, table, shape: tuple[int, ...]):
  """A rule and an array of booleans ``*#B #H #T #S``; alone it stays one."""
  if rule is None:
    return table
  # What lies outside of a table is hidden: one too small would say nothing.
  table = check.broadcasts("mask", table, shape)
  if math.prod(table.shape[:-3]) != 1:
    table = jnp.broadcast_to(table, (*shape[:-3], *table.shape[-3:]))
  return rule & masks.dense(table)
