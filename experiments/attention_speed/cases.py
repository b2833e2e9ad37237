"""Cases of attention: mask, length, head width, and the inputs of each.

numpy alone: the PyTorch process imports this file too and makes the same
inputs.
"""

import dataclasses
import math

import numpy as np

__all__ = [
  "CASES",
  "MODES",
  "Case",
  "arguments",
  "document_ids",
  "neighborhood",
  "slopes",
  "useful_flops",
  "visible",
]

CASES = (
  "full",
  "causal",
  "window",
  "documents",
  "segments",
  "natten",
  "softcap_alibi",
  "decode",
)
RADIUS = 7  # of case "natten", along both sides of the grid
CAP = 30.0  # of the softcap, in logits
# FLOPs of a mode, as a multiple of the 4 D a visible logit of the forward pass:
# backward has 5 products of 2 D where forward has 2, and a tangent has 4 more.
MODES = {"forward": 1.0, "forward_backward": 3.5, "jvp": 3.0}
_ARRAYS = {"forward": 3, "forward_backward": 4, "jvp": 6}


@dataclasses.dataclass(frozen=True)
class Case:
  """One attention call of float32 arrays, self-attention of ``B T H D``.

  Case "decode" has one query, the last, and T keys that it sees all of.

  Args:
    name: one of `CASES`; "documents" and "segments" are the same packed rows,
      by `query_segment_ids` of the call and by a rule of `masks`.
    mode: one of `MODES`.
    length: T.
    head_width: D.
    heads: H.
    batch: B.
    window: positions that a query sees in case "window", its own counted.
    seed: of inputs and documents.

  >>> visible(Case("causal", "forward", 5, 64))
  15
  """

  name: str
  mode: str
  length: int
  head_width: int
  heads: int = 8
  batch: int = 1
  window: int = 256
  seed: int = 0

  @property
  def causal(self) -> bool:
    """Whether no query sees a later key, by the mask."""
    return self.name not in ("full", "natten", "decode")

  @property
  def packed(self) -> bool:
    """Whether its rows are packed documents."""
    return self.name in ("documents", "segments")

  @property
  def queries(self) -> int:
    """The length of the query, and of the output."""
    return 1 if self.name == "decode" else self.length


def document_ids(case: Case) -> np.ndarray:
  """Segment ids int32 ``B T`` of documents of T/8 tokens, on average."""
  rng = np.random.default_rng((case.seed, case.length))
  # Uniform up to T/4, so T/8 on average.
  most = max(2, case.length // 4)
  rows = []
  for _ in range(case.batch):
    lengths = rng.integers(1, most, size=case.length)
    ends, at = np.cumsum(lengths), np.arange(case.length)
    rows.append(np.searchsorted(ends, at, side="right"))
  return np.stack(rows).astype(np.int32)


def grid(length: int) -> tuple[int, int]:
  """The sides of the squarest grid of so many points.

  >>> grid(4096), grid(2048), grid(7)
  ((64, 64), (32, 64), (1, 7))
  """
  sides = range(1, math.isqrt(length) + 1)
  rows = max(n for n in sides if length % n == 0)
  return rows, length // rows


def neighborhood(case: Case, query, key):
  """Whether a key is in the neighbourhood of a query on the grid of a case.

  As FlexAttention's example of NATTEN: at a border the window moves inwards.
  Positions are arrays of numpy, JAX or PyTorch, which broadcast.
  """
  rows, columns = grid(case.length)
  along = (
    (query // columns, key // columns, rows),
    (query % columns, key % columns, columns),
  )
  near = []
  for x, y, size in along:
    radius = _radius(size)
    near.append(abs(x.clip(radius, size - 1 - radius) - y) <= radius)
  return near[0] & near[1]


def _radius(size: int) -> int:
  """Points to either side that fit."""
  return min(RADIUS, (size - 1) // 2)


def slopes(heads: int) -> np.ndarray:
  """ALiBi slopes 2^(-8(h + 1)/H), float32 ``H``."""
  return (2.0 ** (-8 * np.arange(1, heads + 1) / heads)).astype(np.float32)


def arguments(case: Case) -> tuple[list[np.ndarray], dict[str, np.ndarray]]:
  """Arrays of a case: (by position, by name), each float32 ``B T H D``.

  By position: query, key, value; in mode "forward_backward" the cotangent of
  the output too, in mode "jvp" the tangents of the three. By name: ``ids`` of
  packed documents, ``slopes`` of "softcap_alibi".
  """
  # By size: every case of a size has the same queries, keys and values.
  rng = np.random.default_rng((case.seed, case.length, case.head_width))
  # A query or what is like it, a key, a value, and once more.
  lengths = 2 * (case.queries, case.length, case.length)
  arrays = [
    rng.standard_normal(
      (case.batch, length, case.heads, case.head_width), dtype=np.float32
    )
    for length in lengths[: _ARRAYS[case.mode]]
  ]

  if case.packed:
    return arrays, {"ids": document_ids(case)}
  if case.name == "softcap_alibi":
    return arrays, {"slopes": slopes(case.heads)}
  return arrays, {}


def visible(case: Case) -> int:
  """Number of visible (query, key) pairs of one head, all rows together."""
  if not case.packed:
    return case.batch * _pairs_of_a_row(case)

  pairs = 0
  for row in document_ids(case):
    lengths = np.bincount(row)
    # A triangle for each document.
    pairs += int((lengths * (lengths + 1)).sum()) // 2
  return pairs


def useful_flops(case: Case) -> float:
  """FLOPs that a perfect implementation needs: 4 D a pair, times the mode's."""
  pairs = visible(case) * case.heads
  return 4.0 * case.head_width * pairs * MODES[case.mode]


def _pairs_of_a_row(case: Case) -> int:
  """Visible pairs of one row of a mask that depends on positions alone."""
  if case.name in ("full", "decode"):
    return case.queries * case.length
  if case.name == "natten":
    return case.length * math.prod(
      2 * _radius(size) + 1 for size in grid(case.length)
    )

  width = case.length
  if case.name == "window":
    width = min(case.window, case.length)
  # A triangle until the window is full, then a parallelogram.
  return width * (width + 1) // 2 + (case.length - width) * width
