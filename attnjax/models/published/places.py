"""Where a published tensor belongs in our modules, and its axes there.

A published matrix is ``[out, in]``, or ``[in, out]`` in GPT-2, with heads
flattened, and may hold several of our maps side by side. Ours are ``M H D``,
``H D M`` and ``M F``, and those of blocks have a leading axis of layers.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

__all__ = ["Place", "Tensor", "tensors_of"]

_SUFFIXES = {
  "kernel": ".weight",
  "embedding": ".weight",
  "scale": ".weight",
  "bias": ".bias",
  "sink": "",
}


@dataclasses.dataclass(frozen=True)
class Place:
  """One published layer and our modules that it holds.

  Args:
    published: its name, with {} for the number of the block.
    ours: dotted paths of modules, without `blocks`, in the order in which the
      published tensor has them; or of one leaf.
    layout: of the published matrix.
    by_head: heads come first and the modules within each, as in GPT-NeoX; else
      the modules come one after another.

  >>> Place("h.{}.ln_1", ("attention_norm",)).published.format(3)
  'h.3.ln_1'
  """

  published: str
  ours: tuple[str, ...]
  layout: Literal["out_in", "in_out"] = "out_in"
  by_head: bool = False


class Tensor(NamedTuple):
  """One published tensor and the leaves of ours that it holds.

  >>> Tensor("wte.weight", ("embed.embedding",), None, Place("wte", ())).layer
  """

  name: str
  ours: tuple[str, ...]
  layer: int | None
  place: Place


def tensors_of(
  places: Sequence[Place], shapes: Mapping[str, tuple[int, ...]]
) -> Iterator[Tensor]:
  """Every published tensor of a model whose leaves have these shapes.

  >>> shapes = {"blocks.attention_norm.scale": (2, 5)}
  >>> places = [Place("h.{}.ln_1", ("attention_norm",))]
  >>> [tensor.name for tensor in tensors_of(places, shapes)]
  ['h.0.ln_1.weight', 'h.1.ln_1.weight']
  """
  for place in places:
    block = "{}" in place.published
    for leaf, suffix in _SUFFIXES.items():
      modules = ["blocks." * block + module for module in place.ours]
      # A place may name the leaf itself, as that of a sink.
      ours = tuple(m if m in shapes else f"{m}.{leaf}" for m in modules)
      if not all(name in shapes and name.endswith(leaf) for name in ours):
        continue
      layers = range(shapes[ours[0]][0]) if block else (None,)
      for layer in layers:
        name = place.published.format(layer) + suffix
        yield Tensor(name, ours, layer, place)


def published_shape(
  tensor: Tensor, shapes: Sequence[tuple[int, ...]]
) -> tuple[int, ...]:
  """The shape of a published tensor, of those of our leaves in one layer.

  >>> tensor = Tensor("q.weight", ("query.kernel",), 0, Place("q", ("query",)))
  >>> published_shape(tensor, [(6, 2, 3)])
  (6, 6)
  """
  if not tensor.ours[0].endswith("kernel"):
    inside = tensor.ours[0].endswith("embedding")
    return shapes[0] if inside else (sum(map(math.prod, shapes)),)
  inputs = _inputs(tensor)
  rows = math.prod(shapes[0][:inputs])
  columns = sum(math.prod(shape[inputs:]) for shape in shapes)
  turned = tensor.place.layout == "out_in"
  return (columns, rows) if turned else (rows, columns)


def split(
  tensor: Tensor, array: np.ndarray, shapes: Sequence[tuple[int, ...]]
) -> list[np.ndarray]:
  """Our leaves of one layer, out of a published tensor.

  >>> import numpy as np
  >>> tensor = Tensor("kv.bias", ("a.bias", "b.bias"), 0, Place("kv", ()))
  >>> [x.tolist() for x in split(tensor, np.arange(4), [(2, 1), (2,)])]
  [[[0], [1]], [2, 3]]
  """
  if len(shapes) == 1 and not tensor.ours[0].endswith("kernel"):
    return [array.reshape(shapes[0])]
  matrix = tensor.ours[0].endswith("kernel")
  if matrix and tensor.place.layout == "out_in":
    array = array.T

  # Outputs are last now; the modules share them.
  inputs = _inputs(tensor) if matrix else 0
  widths = [math.prod(shape[inputs:]) for shape in shapes]
  if tensor.place.by_head:
    heads, parts = shapes[0][-2], len(shapes)
    cut = array.reshape((*array.shape[:-1], heads, parts, widths[0] // heads))
    pieces = [cut[..., i, :] for i in range(parts)]
  else:
    pieces = np.split(array, np.cumsum(widths)[:-1], axis=-1)
  return [p.reshape(shape) for p, shape in zip(pieces, shapes, strict=True)]


def join(tensor: Tensor, arrays: Sequence[np.ndarray]) -> np.ndarray:
  """The published tensor of our leaves of one layer: the inverse of `split`.

  >>> import numpy as np
  >>> tensor = Tensor("kv.bias", ("a.bias", "b.bias"), 0, Place("kv", ()))
  >>> join(tensor, [np.array([[0], [1]]), np.array([2, 3])]).tolist()
  [0, 1, 2, 3]
  """
  if not tensor.ours[0].endswith(("kernel", "bias")):
    return arrays[0]

  matrix = tensor.ours[0].endswith("kernel")
  inputs = _inputs(tensor) if matrix else 0
  rows = [math.prod(x.shape[:inputs]) for x in arrays]

  if tensor.place.by_head:
    heads = arrays[0].shape[-2]
    cut = [
      x.reshape((*((n,) * matrix), heads, x.shape[-1]))
      for x, n in zip(arrays, rows, strict=True)
    ]
    whole = np.stack(cut, axis=-2)
    flat = whole.reshape((*whole.shape[: 1 * matrix], -1))
  else:
    # `rows` of a bias are 1, of no axes.
    pieces = [
      x.reshape((*((n,) * matrix), -1))
      for x, n in zip(arrays, rows, strict=True)
    ]
    flat = np.concatenate(pieces, axis=-1)

  return flat.T if matrix and tensor.place.layout == "out_in" else flat


def _inputs(tensor: Tensor) -> int:
  """Input axes of our kernel: the output map contracts heads and features."""
  return 2 if tensor.ours[0].endswith("attention.output.kernel") else 1
