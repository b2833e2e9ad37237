"""What a page carries: tokens, packed weights and statistics of heads."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from attnjax.viz.captured import AttentionCall, Captured, chosen
from attnjax.viz.heads import head_statistics
from attnjax.viz.memory_trace import MemoryTrace
from attnjax.viz.packing import pack
from attnjax.viz.tokens import Token, visible

__all__ = ["GivenWeights", "Sentence", "model_data", "source_of"]

_LONGEST = 24  # characters of a token
_TOLERANCE = 1e-2  # of a row's sum: bfloat16 has 8 bits
_UNTOLD = (
  "Both sentences have {} tokens, and the inputs of the model are no jax.Array"
  " among its arguments, which would tell self-attention from cross-attention:"
  " all layers are shown as cross-attention."
)
_ROWS = 2**24  # weights computed at once


@dataclasses.dataclass(frozen=True)
class Sentence:
  """Tokens of a page, and which of them are shown.

  Args:
    tokens: as visible text.
    shown: indices.

  >>> Sentence.of("to be", None, 512, "tokens").tokens
  ('t', 'o', '␣', 'b', 'e')
  """

  tokens: tuple[str, ...]
  shown: tuple[int, ...]

  @classmethod
  def of(
    cls, tokens: Sequence[Token], shown, most: int, name: str
  ) -> "Sentence":
    """The last tokens where there are more than a page can show."""
    if isinstance(tokens, bytes):
      tokens = [bytes([byte]) for byte in tokens]
    if len(tokens) == 0:
      raise ValueError(f"{name} must be one or more, got none")
    if shown is None:
      shown = range(max(0, len(tokens) - most), len(tokens))
    texts = tuple(visible(x, longest=_LONGEST) for x in tokens)
    return cls(texts, chosen(f"shown of {name}", shown, len(tokens)))

  @property
  def note(self) -> str | None:
    """What is left out, and how to choose; None where nothing is."""
    count, first, last = len(self.shown), min(self.shown), max(self.shown)
    if count == len(self.tokens):
      return None
    return (
      f"{count:,} of {len(self.tokens):,} tokens are shown, between {first:,}"
      f" and {last:,}. Weight on the others is in no picture; choose tokens by"
      " shown= of attnjax.viz.page."
    )


@dataclasses.dataclass(frozen=True, eq=False)
class GivenWeights:
  """Weights of one layer, looked into as an `AttentionCall` is.

  Args:
    array: ``B H T S``.

  >>> import numpy as np
  >>> GivenWeights(np.ones((1, 2, 3, 4))).lengths
  (3, 4)
  """

  array: np.ndarray
  options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

  @property
  def heads(self) -> int:
    """H."""
    return self.array.shape[1]

  @property
  def lengths(self) -> tuple[int, int]:
    """(T, S)."""
    return self.array.shape[-2], self.array.shape[-1]

  @property
  def batch(self) -> int:
    """B."""
    return self.array.shape[0]

  def weights(self, *, queries=None, heads=None) -> np.ndarray:
    """Weights of some queries and heads; None is all of them."""
    found = self.array
    found = found if queries is None else found[:, :, list(queries)]
    return found if heads is None else found[:, list(heads)]

  def positions(self) -> tuple[np.ndarray, np.ndarray]:
    """The indices."""
    length, keys = self.lengths
    return np.arange(length)[None], np.arange(keys)[None]


def source_of(
  name: str, source: Any
) -> Captured | Sequence[GivenWeights] | Sequence[MemoryTrace]:
  """Captured attention, or weights ``L H T S`` or ``H T S`` as such.

  >>> import numpy as np
  >>> len(source_of("mine", np.full((3, 2, 4, 4), 0.25)))
  3
  """
  if isinstance(source, Captured):
    return source
  if isinstance(source, MemoryTrace):
    return [source]
  array = np.asarray(source)
  if array.ndim == 3:
    array = array[None]
  if array.ndim != 4 or 0 in array.shape:
    raise ValueError(
      f"{name}: expected what viz.capture or viz.memory_trace returns, or"
      " weights L H T S or H T S"
      f" with no axis empty, got {type(source).__name__} of shape"
      f" {list(array.shape)}; index the batch first"
    )
  return [GivenWeights(layer[None]) for layer in array]


def model_data(
  name: str,
  captured: Captured | Sequence[GivenWeights] | Sequence[MemoryTrace],
  sentences: Sequence[Sentence],
  *,
  batch: int,
  layers: Sequence[int] | None,
  levels: int,
  ablation: Any = None,
) -> tuple[dict[str, Any], list[str]]:
  """What a page carries of one model, and notes for its reader.

  Args:
    name: of the model.
    captured: its attention.
    sentences: of the queries, and of the keys where these are others.
    batch: the batch row to show.
    layers: those to show; None is all.
    levels: see `packing.quantized`.
    ablation: change of a loss without each head, a row a layer shown; None
      where it is not known.

  Raises:
    ValueError: no sentence is as long as the queries or the keys of a layer,
      weights are not in [0, 1], or queries and keys are swapped.
  """
  data: dict[str, Any] = {"name": name, "kind": "attention", "layers": []}
  values: list[np.ndarray] = []
  names: tuple[str, ...] = ()
  notes: list[str] = []

  roles, said = _roles(captured, sentences)
  notes += said
  for number in chosen("layers", layers, len(captured)):
    call: Any = captured[number]
    if not 0 <= batch < max(call.batch, 1):
      raise ValueError(f"batch must be below {call.batch}, got {batch}")
    queries, keys = roles[number] or _sides(
      f"{name}, layer {number}", call.lengths, sentences
    )
    shown, held = sentences[queries].shown, sentences[keys].shown
    weights = _rows_of(call.weights, call, shown, batch)
    more = _checked(f"{name}, layer {number}", weights)
    # What reads are like is no share of anything.
    notes += [] if isinstance(call, MemoryTrace) else more
    data["layers"].append(
      {
        "name": str(number),
        "heads": call.heads,
        "queries": list(shown),
        "keys": list(held),
        "querySentence": queries,
        "keySentence": keys,
        "packed": pack(weights[..., list(held)], levels),
      }
    )
    if isinstance(call, MemoryTrace):
      data["kind"] = "memory"
      names, told = call.statistics()
      values.append(told)
      data["layers"][-1]["written"] = call.written[:, list(held)].tolist()
      continue
    if isinstance(call, AttentionCall):
      data["layers"][-1]["mask"] = _mask(call, shown, held, batch)

    found = head_statistics(
      captured,
      layers=[number],
      tokens=sentences[queries].tokens if queries == keys else None,
      queries=shown,
      batch=batch,
    )
    names = max(names, found.names("statistic"), key=len)
    values.append(found.values[0, : call.heads])

  rows = [
    [[None if np.isnan(x) else round(float(x), 4) for x in h] for h in layer]
    for layer in values
  ]
  # Cross-attention has no induction score: nothing there repeats.
  rows = [[h + [None] * (len(names) - len(h)) for h in layer] for layer in rows]
  columns = list(names)
  if ablation is not None:
    columns.append("loss without it")
    for layer, change in zip(rows, ablation, strict=True):
      for head, value in zip(layer, change, strict=False):
        head.append(None if np.isnan(value) else round(float(value), 5))
  data["statistics"] = {"names": columns, "values": rows}
  return data, list(dict.fromkeys(notes))


def _sides(
  what: str, lengths: tuple[int, int], sentences: Sequence[Sentence]
) -> tuple[int, int]:
  """Which sentences are the queries and the keys of a layer."""
  sizes = [len(x.tokens) for x in sentences]
  for size, side in zip(lengths, ("queries", "keys"), strict=True):
    if size not in sizes:
      raise ValueError(
        f"{what}: it has {size} {side}, and there are {sizes} tokens; give as"
        " many tokens as queries, and key_tokens= where the keys are others"
      )
  return sizes.index(lengths[0]), sizes.index(lengths[1])


def _roles(
  captured: Any, sentences: Sequence[Sentence]
) -> tuple[list[tuple[int, int] | None], list[str]]:
  """The sentences of queries and keys of each layer, and what to say of them.

  None where lengths tell them. Of two sentences of one length that is told by
  what queries and keys were computed from: those of self-attention from the
  same inputs, and the keys of cross-attention from the source alone.
  """
  count = len(captured)
  sizes = {len(x.tokens) for x in sentences}
  if len(sentences) == 1 or len(sizes) > 1:
    return [None] * count, []

  # Plain weights of queries over keys.
  reads = captured.reads() if isinstance(captured, Captured) else ()
  across: list[tuple[int, int] | None] = [(0, 1)] * count
  if len(reads) != count or not all(q and k for q, k in reads):
    several = isinstance(captured, Captured) and count > 1
    return across, [_UNTOLD.format(sizes.pop())] if several else []
  sources = {k for q, k in reads if q != k}
  return [
    (0, 1) if q != k else (1, 1) if k in sources else (0, 0) for q, k in reads
  ], []


def _mask(
  call: AttentionCall, rows: Sequence[int], keys: Sequence[int], batch: int
) -> str:
  """Packed visible pairs, of one head where all heads see alike."""
  logits = _rows_of(call.logits, call, rows, batch)[..., list(keys)]
  seen = ~np.isneginf(logits)
  alike = (seen == seen[:1]).all()
  return pack((seen[:1] if alike else seen).astype(np.float32))


def _rows_of(
  rows_of: Callable, call: Any, rows: Sequence[int], batch: int
) -> np.ndarray:
  """Weights ``H N S`` of some rows, as float32, a few rows at a time."""
  few = max(1, _ROWS // max(1, call.batch * call.heads * call.lengths[1]))
  return np.concatenate(
    [
      np.asarray(rows_of(queries=rows[k : k + few]))[batch].astype(np.float32)
      for k in range(0, len(rows), few)
    ],
    axis=1,
  )


def _checked(what: str, weights: np.ndarray) -> list[str]:
  """Notes on weights ``H N S``; raises for those that cannot be shown."""
  if not np.isfinite(weights).all() or weights.min() < -_TOLERANCE:
    raise ValueError(
      f"{what}: weights must be finite and at least 0; pass weights, not logits"
    )

  sums = weights.sum(-1, dtype=np.float64)
  down = weights.sum(-2, dtype=np.float64)
  off = np.abs(sums - 1) > _TOLERANCE
  if off.any() and (np.abs(down - 1) <= _TOLERANCE).all():
    raise ValueError(
      f"{what}: the columns sum to 1 and the rows do not; queries come before"
      " keys, swap them with numpy.swapaxes(weights, -1, -2)"
    )
  if weights.max() > 1 + _TOLERANCE:
    raise ValueError(
      f"{what}: weights must be at most 1, got {weights.max():.3g}; divide them"
      " by their sums"
    )

  # Empty rows are ordinary: the first query of a mask of earlier keys.
  off &= sums > _TOLERANCE
  if not off.any():
    return []
  return [
    f"{what}: weights of a query sum to {sums[off].min():.2f} to"
    f" {sums[off].max():.2f} and not to 1, as those of softmax do; they are"
    " shown as they are."
  ]
