"""Scoring: how a query and a key make a logit.

A scoring is a frozen pytree, called as ``scoring(query, key, precision)`` with
query ``... G T D`` and key ``... S D``: one key head serves G query heads. It
returns logits ``... G T S`` in the dtype of its inputs, which `attend` has
raised to the dtype of the logits.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp

from attnjax.typing import Array, Float, PrecisionLike

__all__ = ["Scoring", "dot", "scaled_dot"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Scoring:
  """How a query and a key make a logit; see `dot` and `scaled_dot`.

  >>> from attnjax import scoring
  >>> isinstance(scoring.scaled_dot(), scoring.Scoring)
  True
  """

  def __call__(
    self,
    query: Float[Array, "... G T D"],
    key: Float[Array, "... S D"],
    precision: PrecisionLike = None,
  ) -> Float[Array, "... G T S"]:
    """Logits of every query against every key."""
    raise NotImplementedError


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class _Dot(Scoring):
  # None is the one of the paper, 1 / sqrt(D), known when D is.
  scale: float | None = dataclasses.field(metadata={"static": True})

  def __call__(self, query, key, precision=None):
    scale = self.scale
    if scale is None:
      # A width of 0 makes every logit 0, whatever its scale.
      scale = 1 / math.sqrt(max(query.shape[-1], 1))
    # The query is the smaller operand, so the scale goes there.
    query = query if scale == 1 else query * scale
    return jnp.einsum("...gtd,...sd->...gts", query, key, precision=precision)


def dot() -> Scoring:
  """Dot product, logit[t, s] = q[t] · k[s].

  >>> import jax.numpy as jnp
  >>> q, k = jnp.ones((1, 1, 4)), jnp.ones((2, 4))
  >>> dot()(q, k).tolist()
  [[[4.0, 4.0]]]

  Reference:
    Luong, Pham, Manning, "Effective Approaches to Attention-based Neural
    Machine Translation", 2015, arXiv 1508.04025, equation 8.
  """
  return _Dot(1.0)


def scaled_dot(scale: float | None = None) -> Scoring:
  """Scaled dot product, logit[t, s] = scale · q[t] · k[s].

  For independent queries and keys of unit variance q · k has variance D; the
  default scale brings it back to 1, so that the softmax does not saturate.

  Args:
    scale: any finite number; None is 1 / sqrt(D).

  Raises:
    ValueError: if the scale is not a finite number.

  >>> import jax.numpy as jnp
  >>> q, k = jnp.ones((1, 1, 4)), jnp.ones((2, 4))
  >>> scaled_dot()(q, k).tolist()
  [[[2.0, 2.0]]]

  Reference:
    Vaswani et al., "Attention Is All You Need", 2017, arXiv 1706.03762,
    equation 1.
  """
  if scale is not None and not (
    isinstance(scale, int | float) and math.isfinite(scale)
  ):
    raise ValueError(
      f"scaled_dot: scale must be a finite Python number, got {scale!r}; to"
      " learn a scale, multiply the queries by it"
    )
  return _Dot(None if scale is None else float(scale))
