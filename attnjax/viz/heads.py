"""What heads do, in numbers: pure functions of their weights.

They take weights as `attend` gives them, ``... T S``, rows that sum to 1, or to
0 where nothing is seen; such empty rows count for nothing.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from attnjax.viz.captured import Captured, chosen
from attnjax.viz.named_array import NamedArray

__all__ = [
  "entropy",
  "head_similarity",
  "head_statistics",
  "induction_targets",
  "mass_on",
  "mean_distance",
]

_NAMES = ("entropy", "distance", "first", "previous", "own", "largest")
_ROWS = 2**22  # weights held at once, while statistics are computed


def entropy(weights: Any) -> np.ndarray:
  """Entropy of each row, -Σ_s w log w, in nats: 0 for one key, log S for all.

  Args:
    weights: ``... T S``.

  Returns:
    float64 ``... T``.

  >>> entropy([[1.0, 0.0], [0.5, 0.5]]).round(3).tolist()
  [0.0, 0.693]
  """
  w = _wide(weights)
  # Subtracted from 0, for a row of one key has 0 and not -0.
  return 0.0 - np.sum(w * np.log(np.where(w > 0, w, 1)), axis=-1)


def mean_distance(
  weights: Any, query_positions: Any, key_positions: Any
) -> np.ndarray:
  """Mean distance of each query from what it looks at, Σ_s w |q - k|, tokens.

  Args:
    weights: ``... T S``.
    query_positions: int ``... T``.
    key_positions: int ``... S``.

  >>> mean_distance([[1.0, 0.0, 0.0]], [2], [0, 1, 2]).tolist()
  [2.0]
  """
  q, k = np.asarray(query_positions), np.asarray(key_positions)
  return (_wide(weights) * np.abs(q[..., :, None] - k[..., None, :])).sum(-1)


def mass_on(weights: Any, targets: Any) -> np.ndarray:
  """Weight that each query gives its targets, Σ_s w over some keys.

  Args:
    weights: ``... T S``.
    targets: bool ``... T S``, which keys count.

  >>> mass_on([[0.25, 0.75]], [[False, True]]).tolist()
  [0.75]
  """
  return np.where(targets, _wide(weights), 0).sum(-1)


def induction_targets(tokens: Sequence[Any]) -> np.ndarray:
  """Which keys complete a pattern: those after an earlier copy of the query.

  The mass on them, averaged over queries that have any, is the prefix-matching
  score of an induction head, which predicts B after A B ... A.

  Args:
    tokens: T tokens.

  Returns:
    bool ``T T``.

  >>> induction_targets("abca").nonzero()
  (array([3]), array([1]))

  Reference:
    Olsson et al., "In-context Learning and Induction Heads", 2022, arXiv
    2209.11895.
  """
  names = [*tokens]
  numbers = np.array([names.index(x) for x in names], np.int64)
  before = np.concatenate([[-1], numbers[:-1]]) if len(numbers) else numbers
  same = numbers[:, None] == before[None, :]
  # A key after an earlier copy is not later than the query.
  return same & np.tri(len(numbers), dtype=bool)


def head_statistics(
  captured: Captured | Sequence[Any],
  *,
  tokens: Sequence[Any] | None = None,
  layers: Sequence[int] | None = None,
  queries: Sequence[int] | None = None,
  batch: int | None = None,
) -> NamedArray:
  """Statistics of every head, averaged over queries and batch rows.

  entropy (nats), distance (tokens), the mass on the first key of the array, on
  the token before the query and on itself, the largest weight of a row, and
  with tokens the induction score. Rows of weights are computed a few at a time.
  What compares positions is NaN where queries and keys differ in number and no
  positions were given, as in cross-attention.

  Args:
    captured: from `capture`, or layers that are looked into in the same way.
    tokens: T tokens, for the induction score; NaN where none repeats.
    layers: None is all.
    queries: those to average over, such as real tokens; None is all.
    batch: one batch row; None averages over all.

  Returns:
    Axes (layer, head, statistic); heads that a layer lacks are NaN.

  Raises:
    ValueError: tokens are not as many as the queries and keys of a layer.

  >>> import attnjax, jax
  >>> from attnjax import masks
  >>> from attnjax.viz import capture
  >>> x = jax.random.normal(jax.random.key(0), (1, 5, 2, 4))
  >>> causal = lambda x: attnjax.attend(x, x, x, mask=masks.causal())
  >>> found = head_statistics(capture(causal, x))
  >>> found.axes, found.shape
  (('layer', 'head', 'statistic'), (1, 2, 6))
  """
  numbers = chosen("layers", layers, len(captured))
  names = _NAMES if tokens is None else (*_NAMES, "induction")
  most = max(captured[k].heads for k in numbers)
  values = np.full((len(numbers), most, len(names)), np.nan)

  for place, layer in enumerate(numbers):
    call = captured[layer]
    targets = None if tokens is None else _targets(tokens, call)
    rows = chosen("queries", queries, call.lengths[0])
    values[place, : call.heads] = _of_call(call, rows, targets, batch)

  return NamedArray(
    values,
    ("layer", "head", "statistic"),
    {"layer": numbers, "statistic": names},
  )


def head_similarity(weights: NamedArray | Any) -> NamedArray:
  """How alike heads look, 1 less the mean Jensen-Shannon divergence in bits.

      similarity[i, j] = 1 - mean_t JS(weight[i, t], weight[j, t]) / log 2

  1 for heads with the same weights, 0 for heads that share no key.

  Args:
    weights: as `Captured.weights` gives them; or ``N T S``, N heads.

  Returns:
    Axes (head, other), float64, over rows that are not empty for either head
    and over batch rows. The heads of captured weights are called (layer, head),
    others are numbered.

  Raises:
    ValueError: plain weights are not ``N T S``.

  >>> import numpy as np
  >>> same = np.stack([np.eye(3), np.eye(3), np.eye(3)[::-1]])
  >>> found = head_similarity(same)
  >>> found.axes, round(found.at(head=0, other=2), 2)
  (('head', 'other'), 0.33)

  Reference:
    Clark et al., "What Does BERT Look At? An Analysis of BERT's Attention",
    2019, arXiv 1906.04341, section 6.
  """
  labels: dict[str, Any] = {}
  if isinstance(weights, NamedArray):
    names = [
      (layer, head)
      for layer in weights.names("layer")
      for head in weights.names("head")
    ]
    labels = {"head": names, "other": names}
    # Layer and head first: rows of a batch are more queries.
    w = np.moveaxis(_wide(weights), 2, 1)
    w = w.reshape(len(names), -1, w.shape[-1])
  else:
    w = _wide(weights)
  if w.ndim != 3:
    raise ValueError(
      f"weights must be N T S, got shape {list(w.shape)}; reshape to one axis"
      " of heads, or give what Captured.weights returns"
    )

  own, seen = entropy(w), w.sum(-1) > 0
  found = np.ones((len(w), len(w)))
  for i in range(len(w)):
    mixed = entropy((w[i] + w[i:]) / 2)
    apart = mixed - (own[i] + own[i:]) / 2
    both = seen[i] & seen[i:]
    divergence = _mean(apart / np.log(2), both, -1)
    found[i, i:] = found[i:, i] = 1 - np.clip(divergence, 0, 1)
  return NamedArray(found, ("head", "other"), labels)


def _of_call(
  call: Any,
  rows: Sequence[int],
  targets: np.ndarray | None,
  batch: int | None,
) -> np.ndarray:
  """Statistics ``H N`` of one call, from a few rows at a time."""
  # A batch row of its own, or the one that all share.
  own = slice(None) if batch is None else [batch]
  query_at, key_at = (
    (x if len(x) == 1 else x[own])[:, None] for x in call.positions()
  )
  length, keys = call.lengths
  if not rows:
    names = len(_NAMES) + (targets is not None)
    return np.full((call.heads, names), np.nan)
  comparable = length == keys or (
    call.options.get("query_positions") is not None
    and call.options.get("key_positions") is not None
  )

  few = max(1, _ROWS // max(1, call.batch * call.heads * keys))
  parts, counts = [], []
  for start in range(0, len(rows), few):
    some = list(rows[start : start + few])
    w = _wide(call.weights(queries=some))[own]
    q = query_at[..., some]
    seen = w.sum(-1) > 0
    away = q[..., :, None] - key_at[..., None, :]
    first = np.arange(keys) == 0
    found = [
      entropy(w),
      mean_distance(w, q, key_at),
      mass_on(w, first),
      mass_on(w, away == 1),
      mass_on(w, away == 0),
      w.max(-1, initial=0.0),
    ]
    count = [seen] * len(found)

    if not comparable:
      for k in (1, 3, 4):
        count[k] = np.zeros_like(seen)
    if targets is not None:
      found.append(mass_on(w, targets[some]))
      count.append(seen & targets[some].any(-1))
    parts.append(
      np.stack([_sum(x, n) for x, n in zip(found, count, strict=True)])
    )
    counts.append(np.stack([_sum(n, n) for n in count]))

  with np.errstate(invalid="ignore"):
    return (np.sum(parts, axis=0) / np.sum(counts, axis=0)).T


def _targets(tokens: Sequence[Any], call: Any) -> np.ndarray:
  """Induction targets of a call among these tokens."""
  if (len(tokens), len(tokens)) != call.lengths:
    raise ValueError(
      f"tokens must be as many as queries and keys, {call.lengths}, got"
      f" {len(tokens)}; choose layers= of self-attention over them"
    )
  return induction_targets(tokens)


def _sum(x: np.ndarray, where: np.ndarray) -> np.ndarray:
  """Sums ``B H T`` over batch rows and queries that count."""
  return np.where(where, x, 0).sum((0, 2), dtype=np.float64)


def _mean(x: np.ndarray, where: np.ndarray, axis: int) -> np.ndarray:
  """The mean of what counts; NaN of nothing."""
  with np.errstate(invalid="ignore"):
    return np.where(where, x, 0).sum(axis) / where.sum(axis)


def _wide(weights: Any) -> np.ndarray:
  """Weights as float64."""
  return np.asarray(weights).astype(np.float64)
