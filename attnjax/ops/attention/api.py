"""`attend`: the one function behind every attention of the library."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from attnjax.ops import normalizers
from attnjax.ops import scoring as scorings
from attnjax.ops.attention import check
from attnjax.ops.attention.call import Aux, Call
from attnjax.ops.attention.reference import reference
from attnjax.ops.masks import Mask
from attnjax.ops.normalizers import Normalizer
from attnjax.ops.score_mods import ScoreMod
from attnjax.ops.scoring import Scoring
from attnjax.typing import (
  Array,
  Bool,
  DTypeLike,
  Float,
  Int,
  PrecisionLike,
)

__all__ = ["IMPLEMENTATIONS", "attend"]

# By name, best first. Each takes a Call and honours all of it, or refuses.
IMPLEMENTATIONS: dict[str, Callable[[Call], tuple[Array, Aux]]] = {
  "reference": reference,
}


def attend(
  query: Float[Array, "*B T H D"],
  key: Float[Array, "*B S K D"],
  value: Float[Array, "*B S K E"],
  *,
  mask: Mask | Bool[Array, "..."] | None = None,
  score_mod: ScoreMod | None = None,
  bias: Float[Array, "..."] | None = None,
  scoring: Scoring = scorings.scaled_dot(),
  normalizer: Normalizer = normalizers.softmax(),
  query_positions: Int[Array, "..."] | None = None,
  key_positions: Int[Array, "..."] | None = None,
  query_segment_ids: Int[Array, "..."] | None = None,
  key_segment_ids: Int[Array, "..."] | None = None,
  logits_dtype: DTypeLike = jnp.float32,
  precision: PrecisionLike = None,
  aux: Sequence[str] = (),
  implementation: str | None = None,
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
      may look, that broadcasts to ``*B H T S`` by index. None hides nothing.
    score_mod: changes a logit, knowing where it stands.
    bias: logits to add, broadcastable to ``*B H T S``; -inf hides a key.
      Differentiable.
    scoring: how a query and a key make a logit; default q · k / sqrt(D).
    normalizer: how logits become weights; default softmax.
    query_positions: int ``*B T``, where each query stands; may be negative and
      may repeat. None is 0, 1, 2...
    key_positions: int ``*B S``, the same for keys.
    query_segment_ids: int ``*B T``, aligned with the array; a query sees only
      keys of its own segment. Give both sides or neither.
    key_segment_ids: int ``*B S``.
    logits_dtype: float32 or float64; float64 inputs make it float64.
    precision: of the matrix products, as in `jax.lax`.
    aux: any of "logsumexp", "weights", "entropy", "max_logit".
    implementation: None takes the best there is; a name takes that one.

  Returns:
    ``*B T H E`` in the dtype of the value; with `aux`, a pair (out, Aux).

  Raises:
    ValueError: an argument does not fit; the message names it and the remedy.

  A causal query reads no later key, so the first reads only itself:

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
  query, key, value = map(jnp.asarray, (query, key, value))
  check.arrays(query, key, value)
  batch, heads = query.shape[:-3], query.shape[-2]
  shape = (*batch, heads, query.shape[-3], key.shape[-3])
  check.rules(mask, score_mod, batch, heads)
  if (query_segment_ids is None) != (key_segment_ids is None):
    raise ValueError(
      "attend: query_segment_ids and key_segment_ids go together; in"
      " self-attention give the same ids twice"
    )
  rule = mask if isinstance(mask, Mask) else None
  table = None if isinstance(mask, Mask) else mask
  call = Call(
    query=query,
    key=key,
    value=value,
    mask=rule,
    visible=None if table is None else check.broadcasts("mask", table, shape),
    bias=None if bias is None else check.bias_of(bias, shape),
    score_mod=score_mod,
    scoring=scoring,
    normalizer=normalizer,
    query_positions=check.rows(
      "query_positions", query_positions, batch, shape[-2]
    ),
    key_positions=check.rows("key_positions", key_positions, batch, shape[-1]),
    query_segment_ids=check.rows(
      "query_segment_ids", query_segment_ids, batch, shape[-2]
    ),
    key_segment_ids=check.rows(
      "key_segment_ids", key_segment_ids, batch, shape[-1]
    ),
    logits_dtype=check.logits_dtype(logits_dtype, query, key, value),
    precision=precision,
    aux=check.aux_names(aux),
  )
  with jax.named_scope("attend"):
    out, extra = _chosen(implementation)(call)
  return (out, extra) if call.aux else out


def _chosen(name: str | None) -> Callable[[Call], tuple[Array, Aux]]:
  """The implementation of that name, or the best."""
  if name is None:
    return next(iter(IMPLEMENTATIONS.values()))
  if name not in IMPLEMENTATIONS:
    raise ValueError(
      f"attend: implementation {name!r} is unknown; there are"
      f" {sorted(IMPLEMENTATIONS)}, or None for the best of them"
    )
  return IMPLEMENTATIONS[name]
