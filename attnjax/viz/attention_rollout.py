"""Attention rollout: where information came from, over all layers."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from attnjax.viz.named_array import NamedArray

__all__ = ["rollout"]


def rollout(
  weights: NamedArray | Sequence[Any] | np.ndarray, *, residual: float = 0.5
) -> NamedArray:
  """How much of each input token is in each token after some layers.

      A[l] = (1 - r) mean_h weight[l, h] + r I,   rollout[l] = A[l] rollout[l-1]

  where the rows of A are divided by their sums: an empty row, which reads
  nothing, keeps what it had.

  Args:
    weights: ``*B H T T`` of each layer of self-attention, the first one first,
      as `Captured.weights` gives them; at most one batch axis.
    residual: r, the share of the residual stream, in [0, 1].

  Returns:
    Axes (layer, query, key), or (layer, batch, query, key): the rollout after
    each layer, float64. Its rows sum to 1.

  Raises:
    ValueError: there is no layer, one is not square or has other axes than the
      first, or r is outside of its range.

  >>> import numpy as np
  >>> previous = np.eye(3, k=-1)[None]
  >>> found = rollout([previous, previous])
  >>> found.axes, found.at(layer=1, query=2).values.tolist()
  (('layer', 'query', 'key'), [0.25, 0.5, 0.25])

  Reference:
    Abnar, Zuidema, "Quantifying Attention Flow in Transformers", 2020, arXiv
    2005.00928.
  """
  if not 0 <= residual <= 1:
    raise ValueError(f"residual must be in [0, 1], got {residual}")

  labels: dict[str, Any] = {}
  if isinstance(weights, NamedArray):
    labels, weights = {"layer": weights.names("layer")}, weights.values

  found: list[np.ndarray] = []
  for number, layer in enumerate(weights):
    w = np.asarray(layer).astype(np.float64)
    if w.ndim not in (3, 4) or w.shape[-1] != w.shape[-2]:
      raise ValueError(
        f"weights of layer {number} must be H T T or B H T T, got shape"
        f" {list(w.shape)}; rollout is of self-attention over all queries"
      )
    mixed = (1 - residual) * w.mean(-3) + residual * np.eye(w.shape[-1])
    if found and mixed.shape != found[-1].shape:
      raise ValueError(
        f"weights of layer {number} must have the batch and tokens of the"
        f" layers before, {list(found[-1].shape)}, got {list(mixed.shape)}"
      )
    total = mixed.sum(-1, keepdims=True)
    # A row of weight 0 without residual has nothing to divide: it keeps.
    mixed = np.where(total > 0, mixed, np.eye(w.shape[-1]))
    step = mixed / np.where(total > 0, total, 1)
    found.append(step @ found[-1] if found else step)

  if not found:
    raise ValueError("weights must be those of one layer or more, got none")
  batch = ("batch",) * (found[0].ndim - 2)
  return NamedArray(np.stack(found), ("layer", *batch, "query", "key"), labels)
