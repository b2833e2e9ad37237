"""Normalizers that choose some keys of a row, and hide the others."""

from attnjax.ops.node import node, static
from attnjax.ops.normalizers.protocol import Normalizer
from attnjax.ops.value import written

__all__ = ["top_k"]


@node
class _TopK(Normalizer):
  k: int = static()

  def __repr__(self):
    return written("top_k", self.k)

  @property
  def keep(self):
    return self.k


def top_k(k: int) -> Normalizer:
  """Softmax over the k largest logits of each row; all others count as hidden.

  Of equal logits the first keys are taken, so that never more than k are. The
  choice carries no gradient: what was not chosen has gradient 0. k = 1 is hard
  attention, weight 1 on the best key, whose logits then get no gradient at all.

  Args:
    k: how many keys a query reads, >= 1; k >= S is softmax.

  Raises:
    ValueError: if k is not a positive Python int.

  >>> import jax.numpy as jnp
  >>> weights, _ = top_k(2)(jnp.array([3.0, 5.0, 3.0, 5.0, 5.0]))
  >>> weights.tolist()
  [0.0, 0.5, 0.0, 0.5, 0.0]

  Reference:
    Zhao et al., "Explicit Sparse Transformer: Concentrated Attention Through
    Explicit Selection", 2019, arXiv 1912.11637.
  """
  if not isinstance(k, int) or isinstance(k, bool) or k < 1:
    raise ValueError(
      f"normalizer top_k: k must be a Python int >= 1, got {k!r}; it decides"
      " shapes, so it cannot be an array"
    )
  return _TopK(k)
