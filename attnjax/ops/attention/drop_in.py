"""`dot_product_attention` as JAX and Flax call it."""

import operator

import jax
import jax.numpy as jnp
import numpy as np

from attnjax.ops import masks
from attnjax.ops.attention import validate
from attnjax.ops.attention.arguments import checked_call
from attnjax.ops.attention.implementations import IMPLEMENTATIONS, choose
from attnjax.ops.attention.observe import mark_call, mark_output
from attnjax.ops.scoring import dot, scaled_dot
from attnjax.ops.value_checks import known, poison, refuse

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
  deterministic=None,
  dtype=None,
  precision=None,
  module=None,
  force_fp32_for_softmax=True,
  qk_attn_weights_einsum=None,
  attn_weights_value_einsum=None,
):
  """Scaled dot-product attention, called as `jax.nn.dot_product_attention`.

  Also an ``attention_fn=`` of `flax.nnx.MultiHeadAttention` and of
  `flax.linen.MultiHeadDotProductAttention`. Where it differs from either:

  ==================  ===========================  =========================
  what                here                         there
  ==================  ===========================  =========================
  query sees nothing  reads 0, residual -inf       the mean of all values
  logits, weights     float32 or wider             weights rounded to the
                                                   inputs' dtype (Flax: all)
  residual            float32, differentiable      rounded, no gradient
  value               its width and dtype may      as the keys'
                      differ; out has them
  batch axes          any number                   one or none (JAX)
  mask                also of the numbers 0 and 1  JAX: bool alone; Flax: any
                      where known, or from Flax    number but 0 is true
  is_causal, mask     refused where T != S         both, from index 0
  local_window_size   >= 0                         any integers
  bias                floats                       any numbers
  implementation      "xla" is None: our best;     XLA is the default
                      or a name of ours
  dropout             other random bits            `jax.random.bernoulli`
  module, einsums     refused                      sown, called (Flax)
  ==================  ===========================  =========================

  Args:
    query: ``*B T H D``.
    key: ``*B S K D``; K divides H.
    value: ``*B S K E``.
    bias: logits to add, broadcastable to ``*B H T S``.
    mask: bool, true where a query may look, broadcastable to ``*B H T S``; or
      of the numbers 0 and 1, as Flax makes them, where they are known or it is
      Flax that calls.
    scale: of the logits, a number or a scalar array; None is 1 / sqrt(D).
    is_causal: a query sees keys at its own index and before.
    query_seq_lengths: int ``B``; later queries read 0.
    key_value_seq_lengths: int ``B``; later keys are hidden.
    local_window_size: (left, right), or one integer for both sides.
    implementation: as in `attend`: None, or a name of ours; "xla" is None.
    return_residual: also return the log-sum-exp ``*B T H``, in float32.
    broadcast_dropout: all batch rows and heads drop the same weights, as Flax's
      modules do unless told otherwise.
    dropout_rng: a JAX random key.
    dropout_rate: share of the weights to drop.
    deterministic: true drops nothing. Flax gives it, and nobody else: then a
      mask of numbers may be traced, and what is no 0 or 1 makes all NaN.
    dtype: to cast query, key and value to.
    precision: of the matrix products.
    module: must be None: see `attention_weights` for the weights.
    force_fp32_for_softmax: changes nothing: it is never in less.
    qk_attn_weights_einsum: must be None, as must be the next: products are made
      tile by tile.
    attn_weights_value_einsum: must be None.

  Returns:
    ``*B T H E``; with `return_residual` a pair.

  Raises:
    ValueError: an argument does not fit; or `is_causal` beside a mask where T
      and S differ: one of them counts from another end than the other.
    NotImplementedError: "cudnn"; weights sown into a module; own products.

  >>> import jax.numpy as jnp
  >>> import jax
  >>> x = jax.random.normal(jax.random.key(0), (2, 5, 3, 4))
  >>> ours = dot_product_attention(x, x, x, is_causal=True)
  >>> theirs = jax.nn.dot_product_attention(x, x, x, is_causal=True)
  >>> bool(jnp.allclose(ours, theirs, atol=1e-5))
  True
  """
  _refuse_hooks(module, qk_attn_weights_einsum, attn_weights_value_einsum)
  query, key, value = (jnp.asarray(x, dtype) for x in (query, key, value))
  validate.arrays(query, key, value)
  query, scoring = _scaled(query, scale)

  rule = _rule(is_causal, local_window_size)
  if query_seq_lengths is not None or key_value_seq_lengths is not None:
    lengths = masks.lengths(query_seq_lengths, key_value_seq_lengths)
    rule = lengths if rule is None else rule & lengths
  wrong = None
  if mask is not None:
    *batch, length, heads, _ = query.shape
    sizes = length, key.shape[-3]
    _check_one_end(is_causal, *sizes)
    table, wrong = _truth(mask, deterministic is not None)
    table = validate.broadcasts("mask", table, (*batch, heads, *sizes))
    rule = table if rule is None else rule & table

  options = {
    "mask": rule,
    "bias": bias,
    "scoring": scoring,
    "dropout_rate": 0.0 if deterministic else dropout_rate,
    "dropout_key": dropout_rng,
    "precision": precision,
    "aux": ("logsumexp",) if return_residual else (),
  }
  call = checked_call(
    query, key, value, options, dropout_shared=bool(broadcast_dropout)
  )
  chosen = choose(call, _named(implementation))
  call, site = mark_call(call, query, key, options)
  with jax.named_scope("attend"):
    out, aux = chosen(call)

  out = mark_output(out, site)
  leading = jnp.shape(query)[:-3]
  found = call.answer(out, aux, leading, query, key, value)
  found = poison(found, wrong)
  if not return_residual:
    return found
  return found[0], jnp.swapaxes(found[1].logsumexp, -1, -2)


def _refuse_hooks(module, *einsums) -> None:
  """Refuses what Flax would have attention do on the way."""
  if module is not None:
    raise NotImplementedError(
      "dot_product_attention: weights are not sown into a module; call"
      " attnjax.attention_weights for the rows you want to see"
    )
  if any(x is not None for x in einsums):
    raise NotImplementedError(
      "dot_product_attention: qk_attn_weights_einsum and"
      " attn_weights_value_einsum must be None: products are made tile by tile;"
      " quantize the projections instead"
    )


def _scaled(query, scale) -> tuple:
  """The queries and their scoring; an array as scale goes into the queries."""
  if scale is None or isinstance(scale, int | float):
    return query, scaled_dot(scale)
  if jnp.shape(scale) != ():
    raise ValueError(
      "dot_product_attention: scale must be one number, got shape"
      f" {list(jnp.shape(scale))}; multiply the queries by it instead"
    )
  # In the dtype of the logits, for there JAX multiplies as well.
  wide = validate.logits_dtype(jnp.float32, query)
  return query.astype(wide) * jnp.asarray(scale, wide), dot()


def _named(implementation):
  """The implementation that a name of JAX's means here."""
  if implementation == "xla":
    return None
  if implementation == "cudnn" and "cudnn" not in IMPLEMENTATIONS:
    raise NotImplementedError(
      "dot_product_attention: there is no implementation 'cudnn' here, only"
      f" {sorted(IMPLEMENTATIONS)}; leave it out for the best of them, or call"
      " jax.nn.dot_product_attention"
    )
  return implementation


def _rule(is_causal: bool, window) -> masks.Mask | None:
  """The mask that these two options mean."""
  rule = masks.causal() if is_causal else None
  if window is None:
    return rule
  left, right = (window, window) if np.ndim(window) == 0 else window
  near = masks.sliding_window(operator.index(left), operator.index(right))
  return near if rule is None else rule & near


def _check_one_end(is_causal: bool, length: int, keys: int) -> None:
  """Refuses to count from index 0 beside a mask that counts otherwise."""
  if is_causal and length != keys:
    raise ValueError(
      "dot_product_attention: is_causal=True counts queries and keys from"
      f" index 0, so of T={length} queries and S={keys} keys the mask means"
      " other pairs; drop is_causal if the mask hides the future, or call"
      " attnjax.attend with mask=masks.causal() and query_positions="
    )


def _truth(mask, by_flax: bool) -> tuple:
  """A mask as booleans, and whether it turns out to be none.

  Flax makes its masks of the numbers 0 and 1, by default of float32.
  """
  mask = mask if hasattr(mask, "dtype") else np.asarray(mask)
  if mask.dtype == bool:
    return mask, None

  remedy = "logits to add are bias="
  if not known(mask) and not by_flax:
    raise ValueError(
      "dot_product_attention: mask must be boolean where its values are not"
      f" known yet, got {mask.dtype}; give mask != 0; {remedy}"
    )

  wrong = refuse(
    lambda x: ((x != 0) & (x != 1)).any(),
    lambda x: ValueError(
      "dot_product_attention: mask must be boolean (or 0 and 1), got"
      f" {x.dtype} of other values; {remedy}"
    ),
    mask,
  )
  return mask != 0, wrong
