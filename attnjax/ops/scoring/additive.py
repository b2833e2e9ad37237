"""Additive scoring: a small network looks at a query and a key."""

from typing import Any

import jax.numpy as jnp

from attnjax.ops.node import node
from attnjax.ops.scoring.protocol import Scoring
from attnjax.ops.value import written
from attnjax.typing import Array, Float

__all__ = ["additive"]


@node
class _Additive(Scoring):
  query_weight: Any
  key_weight: Any
  vector: Any

  def __repr__(self):
    arrays = self.query_weight, self.key_weight, self.vector
    return written("additive", *arrays)

  @property
  def footprint(self):
    return max(jnp.shape(self.vector)[-1], 1)

  def prepare(self, query, key, precision=None):
    # The first layer is linear, so each side goes through it alone.
    def project(x, weight):
      weight = jnp.asarray(weight).astype(x.dtype)
      return jnp.einsum("...d,da->...a", x, weight, precision=precision)

    return project(query, self.query_weight), project(key, self.key_weight)

  def score(self, query, key, precision=None):
    hidden = jnp.tanh(query[..., None, :] + key[..., None, None, :, :])
    vector = jnp.asarray(self.vector).astype(hidden.dtype)
    return jnp.einsum("...a,a->...", hidden, vector, precision=precision)

  def validate(self, width):
    layer = jnp.shape(self.vector)
    for name in ("query_weight", "key_weight"):
      shape = jnp.shape(getattr(self, name))
      if len(layer) != 1 or shape != (width, *layer):
        raise ValueError(
          f"scoring additive: {name} has shape {list(shape)} and vector"
          f" {list(layer)}, expected 'D A' and 'A' with the width"
          f" D={width} of query and key and one width A for both weights and"
          " the vector"
        )


def additive(
  query_weight: Float[Array, "D A"],
  key_weight: Float[Array, "D2 A2"],
  vector: Float[Array, " A3"],
) -> Scoring:
  """A network of one hidden layer.

      logit[t, s] = v · tanh(q[t] W_q + k[s] W_k)

  It holds A numbers for each logit, where a dot product holds one.

  Args:
    query_weight: W_q, ``D A``, shared by all heads, as are the others.
      Gradients reach all three.
    key_weight: W_k, ``D A``.
    vector: v, ``A``.

  Raises:
    ValueError: in `attend`, if a weight is not ``D A``.

  A logit is bounded by Σ |v|, however long queries and keys are:

  >>> import jax.numpy as jnp
  >>> rule = additive(jnp.eye(2), jnp.eye(2), jnp.array([1.0, 2.0]))
  >>> q, k = 1e6 * jnp.ones((1, 1, 2)), jnp.ones((3, 2))
  >>> rule(q, k).tolist()
  [[[3.0, 3.0, 3.0]]]

  Reference:
    Bahdanau, Cho, Bengio, "Neural Machine Translation by Jointly Learning to
    Align and Translate", 2014, arXiv 1409.0473, appendix A.1.2.
  """
  return _Additive(query_weight, key_weight, vector)
