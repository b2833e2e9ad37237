"""Scorings that are a product: dot, scaled dot, general."""

import math
from typing import Any

import jax.numpy as jnp

from attnjax.ops.node import node, static
from attnjax.ops.scoring.protocol import Scoring
from attnjax.ops.value import written
from attnjax.typing import Array, Float

__all__ = ["dot", "general", "scaled_dot"]


@node
class _Dot(Scoring):
  # None is the one of the paper, 1 / sqrt(D), known when D is.
  scale: float | None = static()

  def __repr__(self):
    if self.scale == 1:
      return "dot()"
    return written("scaled_dot", scale=self.scale)

  def prepare(self, query, key, precision=None):
    scale = self.scale
    if scale is None:
      # A width of 0 makes every logit 0, whatever its scale.
      scale = 1 / math.sqrt(max(query.shape[-1], 1))
    # The query is the smaller operand, so the scale goes there.
    return query if scale == 1 else query * scale, key


@node
class _General(Scoring):
  weight: Any

  def __repr__(self):
    return written("general", self.weight)

  def prepare(self, query, key, precision=None):
    # Projecting the query costs T D² and the key S D²; one is enough.
    weight = jnp.asarray(self.weight).astype(query.dtype)
    return jnp.einsum("...d,de->...e", query, weight, precision=precision), key

  def validate(self, width):
    if jnp.shape(self.weight) != (width, width):
      raise ValueError(
        f"scoring general: weight has shape {list(jnp.shape(self.weight))},"
        f" expected 'D D' = [{width}, {width}], the width of query and key;"
        " project them to one width before"
      )


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


def general(weight: Float[Array, "D D2"]) -> Scoring:
  """Bilinear form, logit[t, s] = q[t] · W k[s], not scaled.

  Args:
    weight: W, ``D D``, shared by all heads. Gradients reach it.

  Raises:
    ValueError: in `attend`, if the weight is not ``D D``.

  The identity makes it the dot product, and W need not be symmetric:

  >>> import jax, jax.numpy as jnp
  >>> q, k = jax.random.normal(jax.random.key(0), (2, 1, 5, 4))
  >>> bool((general(jnp.eye(4))(q, k[0]) == dot()(q, k[0])).all())
  True
  >>> turn = jnp.array([[0.0, 1.0], [-1.0, 0.0]])
  >>> x = jnp.eye(2)
  >>> general(turn)(x[None], x)[0].tolist()
  [[0.0, 1.0], [-1.0, 0.0]]

  Reference:
    Luong, Pham, Manning, "Effective Approaches to Attention-based Neural
    Machine Translation", 2015, arXiv 1508.04025, equation 8.
  """
  return _General(weight)
