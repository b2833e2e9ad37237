"""`attend`: the one function behind every attention of the library."""

from collections.abc import Sequence
from typing import Unpack, overload

import jax
import jax.numpy as jnp

from attnjax.ops.attention.arguments import (
  AttendOptions,
  Aux,
  AuxNames,
  checked_call,
  with_options,
)
from attnjax.ops.attention.implementations import Implementation, choose
from attnjax.ops.attention.observe import mark_call, mark_output
from attnjax.typing import Array, Float

__all__ = ["attend"]


@overload
def attend(
  query: Float[Array, "*B T H D"],
  key: Float[Array, "*B S K D"],
  value: Float[Array, "*B S K E"],
  *,
  aux: tuple[()] = ...,
  implementation: str | Implementation | None = ...,
  **options: Unpack[AttendOptions],
) -> Array: ...


@overload
def attend(
  query: Float[Array, "*B T H D"],
  key: Float[Array, "*B S K D"],
  value: Float[Array, "*B S K E"],
  *,
  aux: AuxNames,
  implementation: str | Implementation | None = ...,
  **options: Unpack[AttendOptions],
) -> tuple[Array, Aux]: ...


@overload
def attend(
  query: Float[Array, "*B T H D"],
  key: Float[Array, "*B S K D"],
  value: Float[Array, "*B S K E"],
  *,
  aux: Sequence[str],
  implementation: str | Implementation | None = ...,
  **options: Unpack[AttendOptions],
) -> Array | tuple[Array, Aux]: ...


def attend(
  query: Float[Array, "*B T H D"],
  key: Float[Array, "*B S K D"],
  value: Float[Array, "*B S K E"],
  *,
  aux: Sequence[str] = (),
  implementation: str | Implementation | None = None,
  **options: Unpack[AttendOptions],
):
  """Attention: each query reads a weighted average of the values.

      logit[h, t, s] = mod(scoring(query[t, h], key[s, h // G])) + bias[h, t, s]
      weight[h, t]   = normalizer(logit[h, t] where the mask lets through)
      out[t, h]      = Σ_s weight[h, t, s] value[s, h // G]

  A query that may see nothing reads 0: its log-sum-exp is -inf, its weights
  and all its gradients are 0.

  Args:
    query: ``*B T H D``.
    key: ``*B S K D``; K divides H, and a key head serves G = H // K query
      heads. Hidden keys and values must be finite: 0 · NaN is NaN.
    value: ``*B S K E``.
    mask: a Mask (a rule of positions), or a boolean array, true where a query
      may look, that broadcasts to ``*B H T S`` by index, or both composed, as
      in ``masks.causal() & array``. None hides nothing.
    score_mod: changes a logit, knowing where it stands.
    bias: logits to add, broadcastable to ``*B H T S``; -inf hides a key.
      Differentiable.
    scoring: how a query and a key make a logit; default q · k / sqrt(D).
    normalizer: how logits become weights; default softmax.
    query_positions: int ``*B T``, where each query stands; may be negative and
      may repeat. None is 0, 1, 2... They fit 32 bits; where that is known only
      at run time, a query that does not fit reads NaN.
    key_positions: int ``*B S``, the same for keys; of one that does not fit,
      every query of its row reads NaN.
    query_segment_ids: int ``*B T``, aligned with the array; a query sees only
      keys of its own segment. Give both sides or neither. Of any integer dtype.
    key_segment_ids: int ``*B S``.
    dropout_rate: share of the weights to drop, in [0, 1); those that stay are
      divided by 1 - rate. A pure function of the key and of the indices, never
      stored: the same whatever the implementation.
    dropout_key: a JAX random key; needed where the rate is not 0.
    logits_dtype: float32 or float64; float64 inputs make it float64.
    precision: of the matrix products, as in `jax.lax`.
    aux: any of "logsumexp", "weights", "entropy", "max_logit".
    implementation: None takes the best that honours the whole call, forward and
      backward; a name ("blockwise", "fused", "reference") or an object such as
      ``Blockwise(query_block=256, key_block=256)`` takes that one.

  Returns:
    ``*B T H E`` in the dtype of the value; with `aux`, a pair (out, Aux).

  Raises:
    ValueError: an argument does not fit; the message names it and the remedy.
    NotImplementedError: the named implementation cannot honour an option; the
      message says which can. `explain` says it of all beforehand.
    ExceptionGroup: no implementation can, and why each.

  A causal query reads no later key, so the first reads only itself:

  >>> import jax.numpy as jnp
  >>> import jax, attnjax
  >>> from attnjax import masks
  >>> x = jax.random.normal(jax.random.key(0), (5, 1, 4))
  >>> out, aux = attnjax.attend(x, x, x, mask=masks.causal(), aux=("weights",))
  >>> bool((out[0] == x[0]).all())
  True
  >>> jnp.round(aux.weights.sum(-1), 5).tolist()
  [[1.0, 1.0, 1.0, 1.0, 1.0]]

  Reference:
    Vaswani et al., "Attention Is All You Need", 2017, arXiv 1706.03762,
    equation 1.
  """
  call = checked_call(query, key, value, {**options, "aux": aux})
  chosen = choose(call, implementation)
  call, site = mark_call(call, query, key, options)

  with jax.named_scope("attend"):
    out, aux_found = chosen(call)

  out = mark_output(out, site)
  return call.answer(out, aux_found, jnp.shape(query)[:-3], query, key, value)


# For `help`, which would say `**options` of what is listed once, by its types.
setattr(attend, "__signature__", with_options(attend))  # noqa: B010
