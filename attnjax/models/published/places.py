"""Where a published tensor belongs in our modules, and its axes there.

A published matrix is ``[out, in]``, or ``[in, out]`` in GPT-2, with heads
flattened, and may hold several of our maps side by side. Ours are ``M H D``,
``H D M`` and ``M F``, and those of blocks have a leading axis of layers. A map
of patches is ``[out, channel, row, column]`` and ours takes channels last.
"""

import dataclasses
import itertools
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
    published: its name, with {} for the number of the block, and once more for
      that of the expert.
    ours: dotted paths of modules, without that of the blocks, in the order in
      which the published tensor has them; or of one leaf.
    layout: of the published matrix.
    by: "" where the modules come one after another; "head" where heads come
      first and the modules within each, as in GPT-NeoX; "feature" where they
      take turns feature by feature.
    suffixes: of leaves, where they are not the usual ones.
    experts: whether one published tensor holds all experts of a block.
    without: blocks that have no such tensor; our leaf is 1 there and unused.
    inside: axes of the inputs of a map of patches: channels, rows, columns.
    ones: leading axes of size 1 that the published tensor has more.
    stack: our module of the blocks.
    layers: their numbers in published names; empty: 0, 1, 2...

  >>> Place("h.{}.ln_1", ("attention_norm",)).published.format(3)
  'h.3.ln_1'
  """

  published: str
  ours: tuple[str, ...]
  layout: Literal["out_in", "in_out"] = "out_in"
  by: Literal["", "head", "feature"] = ""
  suffixes: tuple[tuple[str, str], ...] = ()
  experts: bool = False
  without: tuple[int, ...] = ()
  inside: tuple[int, ...] = ()
  ones: int = 0
  stack: str = "blocks"
  layers: tuple[int, ...] = ()


class Tensor(NamedTuple):
  """One published tensor and the leaves of ours that it holds.

  `at` has the number of the block, and of the expert: the first axes of our
  leaves.

  >>> Tensor("wte.weight", ("embed.embedding",), (), Place("wte", ())).at
  ()
  """

  name: str
  ours: tuple[str, ...]
  at: tuple[int, ...]
  place: Place

  @property
  def batch(self) -> int:
    """How many leading axes the tensor has as our leaves have them."""
    return 1 if self.place.experts else 0

  @property
  def turned(self) -> bool:
    """Whether it is a matrix whose outputs come first, unlike ours."""
    kernel = self.ours[0].endswith("kernel")
    return kernel and self.place.layout == "out_in"


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
    axes = place.published.count("{}")
    for leaf, suffix in (_SUFFIXES | dict(place.suffixes)).items():
      stack = f"{place.stack}." if axes else ""
      modules = [stack + module for module in place.ours]
      # A place may name the leaf itself, as that of a sink.
      ours = tuple(m if m in shapes else f"{m}.{leaf}" for m in modules)
      if not all(name in shapes and name.endswith(leaf) for name in ours):
        continue
      for index in itertools.product(*map(range, shapes[ours[0]][:axes])):
        number = index
        if index and place.layers:
          number = (place.layers[index[0]], *index[1:])
        if number and number[0] in place.without:
          continue
        name = place.published.format(*number) + suffix
        yield Tensor(name, ours, index, place)


def published_shape(
  tensor: Tensor, shapes: Sequence[tuple[int, ...]]
) -> tuple[int, ...]:
  """The shape of a published tensor, of those of its part of our leaves.

  >>> tensor = Tensor("q.weight", ("q.kernel",), (0,), Place("q", ("q",)))
  >>> published_shape(tensor, [(6, 2, 3)])
  (6, 6)
  """
  lead, one = shapes[0][: tensor.batch], [s[tensor.batch :] for s in shapes]
  if tensor.place.ones:
    return (*(1,) * tensor.place.ones, *shapes[0])
  if _of_patches(tensor):
    return (shapes[0][-1], *tensor.place.inside)
  if not tensor.ours[0].endswith("kernel"):
    inside = tensor.ours[0].endswith("embedding")
    return shapes[0] if inside else (*lead, sum(map(math.prod, one)))
  inputs = _inputs(tensor)
  rows = math.prod(one[0][:inputs])
  columns = sum(math.prod(shape[inputs:]) for shape in one)
  return (*lead, *((columns, rows) if tensor.turned else (rows, columns)))


def split(
  tensor: Tensor, array: np.ndarray, shapes: Sequence[tuple[int, ...]]
) -> list[np.ndarray]:
  """Our leaves of one layer, out of a published tensor.

  They are views of the array wherever its axes allow it.

  Args:
    tensor: which it is.
    array: the published tensor.
    shapes: of our leaves, those of one block and expert.

  >>> import numpy as np
  >>> tensor = Tensor("kv.bias", ("a.bias", "b.bias"), (0,), Place("kv", ()))
  >>> parts = split(tensor, np.arange(4), [(2, 1), (2,)])
  >>> [x.tolist() for x in parts]
  [[[0], [1]], [2, 3]]
  """
  if len(shapes) == 1 and not tensor.ours[0].endswith("kernel"):
    return [array.reshape(shapes[0])]
  if _of_patches(tensor):
    return [array.transpose(2, 3, 1, 0).reshape(shapes[0])]
  if tensor.turned:
    array = array.swapaxes(-1, -2)

  # Outputs are last now; the modules share them.
  matrix = tensor.ours[0].endswith("kernel")
  first = tensor.batch + (_inputs(tensor) if matrix else 0)
  widths = [math.prod(shape[first:]) for shape in shapes]
  if tensor.place.by:
    groups = _groups(tensor, shapes[0])
    array = array.reshape((*array.shape[:-1], groups, sum(widths) // groups))
    widths = [width // groups for width in widths]
  pieces = np.split(array, np.cumsum(widths)[:-1], axis=-1)
  return [p.reshape(shape) for p, shape in zip(pieces, shapes, strict=True)]


def join(tensor: Tensor, arrays: Sequence[np.ndarray]) -> np.ndarray:
  """The published tensor of our leaves of one layer: the inverse of `split`.

  >>> import numpy as np
  >>> tensor = Tensor("kv.bias", ("a.bias", "b.bias"), (0,), Place("kv", ()))
  >>> join(tensor, [np.array([[0], [1]]), np.array([2, 3])]).tolist()
  [0, 1, 2, 3]
  """
  if not tensor.ours[0].endswith(("kernel", "bias")):
    return arrays[0].reshape((*(1,) * tensor.place.ones, *arrays[0].shape))
  if _of_patches(tensor):
    channels, *sides = tensor.place.inside
    whole = arrays[0].reshape((*sides, channels, arrays[0].shape[-1]))
    return whole.transpose(3, 2, 0, 1)

  matrix = tensor.ours[0].endswith("kernel")
  first = tensor.batch + (_inputs(tensor) if matrix else 0)
  lead = arrays[0].shape[: tensor.batch]
  # Of a bias no rows, of a kernel as many as it has inputs.
  rows = (math.prod(arrays[0].shape[tensor.batch : first]),) * matrix
  widths = [math.prod(x.shape[first:]) for x in arrays]

  if tensor.place.by:
    groups = _groups(tensor, arrays[0].shape)
    cut = [x.reshape((*lead, *rows, groups, -1)) for x in arrays]
    flat = np.concatenate(cut, axis=-1).reshape((*lead, *rows, sum(widths)))
  else:
    pieces = [
      x.reshape((*lead, *rows, width))
      for x, width in zip(arrays, widths, strict=True)
    ]
    flat = np.concatenate(pieces, axis=-1)

  return flat.swapaxes(-1, -2) if tensor.turned else flat


def _of_patches(tensor: Tensor) -> bool:
  """Whether this is the kernel of a map of patches."""
  return bool(tensor.place.inside) and tensor.ours[0].endswith("kernel")


def _inputs(tensor: Tensor) -> int:
  """Input axes of our kernel: the output map contracts heads and features."""
  return 2 if tensor.ours[0].endswith("attention.output.kernel") else 1


def _groups(tensor: Tensor, shape: tuple[int, ...]) -> int:
  """How many heads or features the modules share one after another."""
  return shape[-2] if tensor.place.by == "head" else shape[-1]
