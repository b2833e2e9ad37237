"""Attention rollout: what reaches a token through all layers together."""

from typing import Literal

import jax.numpy as jnp

from attnjax.typing import Array, Float

__all__ = ["attention_rollout"]


def attention_rollout(
  weights: Float[Array, "L *B H T T"],
  *,
  residual: float = 0.5,
  heads: Literal["mean", "max", "min"] = "mean",
) -> Float[Array, "*B T T"]:
  """The share of each input in each output, if attention alone mixed them.

      A'[l] = residual I + (1 - residual) A[l], A[l] of all heads together
      share = A'[L - 1] ... A'[1] A'[0]

  A layer adds to what it reads, so a part of each token stays where it is: the
  residual.

  Args:
    weights: ``L *B H T T``, layer by layer, as ``aux=("weights",)`` of a model
      gives them; rows that sum to 1.
    residual: share of a token that stays, in [0, 1]; the paper takes 0.5.
    heads: "mean", as the paper; "max" or "min" of the heads, rows brought back
      to a sum of 1.

  Returns:
    ``*B T T``; row t sums to 1, and says from where output t came.

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
  together = _together(weights, heads)
  eye = jnp.eye(weights.shape[-1], dtype=weights.dtype)
  share = jnp.broadcast_to(eye, together.shape[1:])
  for layer in together:
    # (1 - r) A X + r X: no matrix with the identity in it has to be made.
    share = residual * share + (1 - residual) * (layer @ share)
  return share


def _together(weights, heads: str) -> Float[Array, "L *B T T"]:
  """One matrix of all heads of a layer, its rows as before."""
  if heads == "mean":
    return weights.mean(axis=-3)
  if heads not in ("max", "min"):
    raise ValueError(
      f"attention_rollout: heads must be 'mean', 'max' or 'min', got {heads!r}"
    )
  one = weights.max(axis=-3) if heads == "max" else weights.min(axis=-3)
  total = one.sum(axis=-1, keepdims=True)
  return one / jnp.where(total == 0, 1, total)
