"""Analysis of attention weights: orientation, value maps (OV), rollout."""

from typing import Literal

import jax.numpy as jnp

from attnjax.ops.heads import MultiHeadParams
from attnjax.typing import Array, Float

__all__ = [
  "attention_pattern",
  "attention_rollout",
  "move",
  "value_maps",
]


def attention_pattern(
  weights: Float[Array, "*B T S"], layout: Literal["rows", "columns"] = "rows"
) -> Float[Array, "..."]:
  """Orients attention weights for drawing: queries as rows or as columns.

      rows:    pattern[t, s] = weight[t, s]   queries down the side
      columns: pattern[s, t] = weight[t, s]   queries along the top

  Args:
    weights: ``*B T S`` (or ``*B H T S``), as ``aux=("weights",)`` gives them.
    layout: "rows", each summing to 1; or "columns", the transpose.

  Returns:
    ``*B T S``, or ``*B S T`` in columns.

  Raises:
    ValueError: if the layout is neither of the two.

  >>> import jax.numpy as jnp
  >>> weights = jnp.array([[1.0, 0.0], [0.25, 0.75]])  # causal
  >>> attention_pattern(weights, "columns").tolist()
  [[1.0, 0.25], [0.0, 0.75]]
  >>> attention_pattern(weights, "columns").sum(0).tolist()
  [1.0, 1.0]

  Reference:
    G. Sanderson, "Attention in transformers, step-by-step" (3Blue1Brown), 2024.
  """
  if layout not in ("rows", "columns"):
    raise ValueError(f"layout must be 'rows' or 'columns', got {layout!r}")
  return weights if layout == "rows" else jnp.swapaxes(weights, -1, -2)


def value_maps(params: MultiHeadParams) -> Float[Array, "H M M"]:
  """Value map (OV circuit) of each head: value times output projection.

      W_V[h] = down[h] up[h],   down ``M E``, up ``E M``

  The value projection maps down to E features, and the head's part of the
  output projection up again: a matrix ``M M`` of rank at most E.

  Args:
    params: of `multi_head_attention`; biases are no part of the map.

  Returns:
    ``H M M``; a row vector times one is the change.

  >>> import jax.numpy as jnp
  >>> from attnjax.ops.heads import MultiHeadParams
  >>> from attnjax.ops.heads import Projection
  >>> up = Projection(jnp.arange(12.0).reshape(6, 1, 2))
  >>> params = MultiHeadParams(up, up, up, Projection(jnp.ones((1, 2, 6))))
  >>> maps = value_maps(params)
  >>> maps.shape, jnp.linalg.matrix_rank(maps[0]).item()
  ((1, 6, 6), 1)

  Reference:
    G. Sanderson, "Attention in transformers, step-by-step" (3Blue1Brown), 2024;
    Elhage et al., "A Mathematical Framework for Transformer Circuits", 2021,
    where it is the OV circuit.
  """
  up = params.output.kernel
  # Value heads are fewer where G query heads share one.
  down = jnp.moveaxis(params.value.kernel, -2, 0)
  down = jnp.repeat(down, up.shape[0] // down.shape[0], axis=0)
  return jnp.einsum("hme,hen->hmn", down, up)


def move(
  weights: Float[Array, "*B H T S"],
  inputs: Float[Array, "*B S M"],
  maps: Float[Array, "H M M"],
) -> Float[Array, "*B T M"]:
  """Output of multi-head attention from weights and value maps.

      change[t] = Σ_h Σ_s weight[h, t, s] inputs[s] W_V[h]

  It equals `multi_head_attention` without biases.

  Args:
    weights: ``*B H T S``.
    inputs: ``*B S M``, the embeddings that are attended to.
    maps: ``H M M``, from `value_maps`.

  Returns:
    ``*B T M``, to add to the embeddings.

  >>> import jax.numpy as jnp
  >>> weights, eye = jnp.array([[[0.5, 0.5]]]), jnp.eye(2)[None]
  >>> move(weights, jnp.array([[1.0, 0.0], [0.0, 1.0]]), eye).tolist()
  [[0.5, 0.5]]
  """
  values = jnp.einsum("...sm,hmn->...hsn", inputs, maps)
  return jnp.einsum("...hts,...hsn->...tn", weights, values)


def attention_rollout(
  weights: Float[Array, "L *B H T T"],
  *,
  residual: float = 0.5,
  heads: Literal["mean", "max", "min"] = "mean",
) -> Float[Array, "*B T T"]:
  """Attention rollout: the share of each input in each output of L layers.

      A'[l] = residual I + (1 - residual) A[l], A[l] of all heads together
      share = A'[L - 1] ... A'[1] A'[0]

  `residual` models the residual connection, which keeps a part of each token.

  Args:
    weights: ``L *B H T T``, layer by layer, as ``aux=("weights",)`` of a model
      gives them; rows that sum to 1.
    residual: weight of the identity, in [0, 1]; the paper takes 0.5.
    heads: how heads are combined: "mean", as in the paper, or "max" or "min",
      whose rows are normalized to a sum of 1.

  Returns:
    ``*B T T``; row t sums to 1: the share of each input in output t.

  Raises:
    ValueError: if the weights are not square, or an option is out of range.

  >>> import jax.numpy as jnp
  >>> one = jnp.array([[[1.0, 0.0], [0.5, 0.5]]])  # H T T
  >>> attention_rollout(one[None], residual=0.0).tolist() == one[0].tolist()
  True
  >>> attention_rollout(jnp.stack([one, one])).tolist()
  [[1.0, 0.0], [0.4375, 0.5625]]

  Reference:
    Abnar, Zuidema, "Quantifying Attention Flow in Transformers", 2020, arXiv
    2005.00928, section 3.
  """
  if weights.ndim < 4 or weights.shape[-1] != weights.shape[-2]:
    raise ValueError(
      "attention_rollout: weights must have axes 'L *B H T T', of layers of"
      f" self-attention, got shape {list(weights.shape)}"
    )
  if not 0 <= residual <= 1:
    raise ValueError(
      f"attention_rollout: residual must be within 0 and 1, got {residual}"
    )

  # Heads first: the product of layers needs one matrix a layer.
  layers = _combine_heads(weights, heads)
  eye = jnp.eye(weights.shape[-1], dtype=weights.dtype)
  share = jnp.broadcast_to(eye, layers.shape[1:])

  for layer in layers:
    # (r I + (1 - r) A) X, multiplied out so that r I is never formed.
    share = residual * share + (1 - residual) * (layer @ share)

  return share


def _combine_heads(weights, heads: str) -> Float[Array, "L *B T T"]:
  """Reduces the heads of each layer to one matrix whose rows sum to 1."""
  if heads == "mean":
    return weights.mean(axis=-3)
  if heads not in ("max", "min"):
    raise ValueError(
      f"attention_rollout: heads must be 'mean', 'max' or 'min', got {heads!r}"
    )

  combined = weights.max(axis=-3) if heads == "max" else weights.min(axis=-3)
  total = combined.sum(axis=-1, keepdims=True)
  # The row of a query that sees nothing is 0 and stays 0.
  return combined / jnp.where(total == 0, 1, total)
