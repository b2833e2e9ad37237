"""Attention rollout: where information came from, over all layers."""

from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["rollout"]


def rollout(
  weights: Sequence[Any] | np.ndarray, *, residual: float = 0.5
) -> np.ndarray:
  """How much of each input token is in each token after some layers.

      A[l] = (1 - r) mean_h weight[l, h] + r I,   rollout[l] = A[l] rollout[l-1]

  where the rows of A are divided by their sums: an empty row, which reads
  nothing, keeps what it had.

  Args:
    weights: ``*B H T T`` of each layer of self-attention, the first one first.
    residual: r, the share of the residual stream, in [0, 1].

  Returns:
    float64 ``L *B T T``, the rollout after each layer; its rows sum to 1.

  Raises:
    ValueError: a layer is not square, or r is outside of its range.

  >>> import numpy as np
  >>> previous = np.eye(3, k=-1)[None]
  >>> rollout([previous, previous])[-1, 2].tolist()
  [0.25, 0.5, 0.25]

  Reference:
    Abnar, Zuidema, "Quantifying Attention Flow in Transformers", 2020, arXiv
    2005.00928.
  """
  if not 0 <= residual <= 1:
    raise ValueError(f"residual must be in [0, 1], got {residual}")

  found: list[np.ndarray] = []
  for number, layer in enumerate(weights):
    w = np.asarray(layer).astype(np.float64)
    if w.ndim < 3 or w.shape[-1] != w.shape[-2]:
      raise ValueError(
        f"weights of layer {number} must be *B H T T, got shape"
        f" {list(w.shape)}; rollout is of self-attention over all queries"
      )
    mixed = (1 - residual) * w.mean(-3) + residual * np.eye(w.shape[-1])
    total = mixed.sum(-1, keepdims=True)
    # A row of weight 0 without residual has nothing to divide: it keeps.
    mixed = np.where(total > 0, mixed, np.eye(w.shape[-1]))
    step = mixed / np.where(total > 0, total, 1)
    found.append(step @ found[-1] if found else step)
  return np.stack(found)
