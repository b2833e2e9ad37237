"""Tables that a TPU kernel fetches into SMEM before it starts."""

import math
import re
from collections.abc import Mapping

import numpy as np

from attnjax.plan.hlo import Array, Instruction

__all__ = ["constant_of", "words"]

_BYTES = {"s8": 1, "u8": 1, "pred": 1, "s16": 2, "u16": 2, "s32": 4, "u32": 4}
# Instructions that only move what they are given.
_MOVES = {"copy", "copy-start", "copy-done", "bitcast", "reshape", "broadcast"}
_MOVES |= {"async-start", "async-done", "slice-done", "convert"}


def constant_of(
  name: str, instructions: Mapping[str, Instruction]
) -> np.ndarray | None:
  """The integers of an operand that is known in the program's text.

  Args:
    name: of an instruction.
    instructions: of its computation, by name.

  Returns:
    The array, in the shape of the operand; None where it is computed.

  >>> from attnjax.plan.hlo import parse
  >>> text = '''ENTRY %f () -> s32[3] {
  ...   ROOT %c = s32[3]{0} constant({1, -2, 3})
  ... }'''
  >>> constant_of("c", parse(text)[0]["f"].instructions).tolist()
  [1, -2, 3]
  """
  shape = instructions[name].arrays[0].shape
  while instructions[name].opcode in _MOVES:
    name = instructions[name].operands[0]
  found = instructions[name]
  if found.opcode != "constant" or found.arrays[0].dtype not in _BYTES:
    return None

  tokens = re.findall(r"-?\d+|true|false", found.literal)
  values = np.array([int(x == "true" or (x != "false" and x)) for x in tokens])
  if len(values) == 1:
    return np.full(shape, values[0])
  return values.reshape(shape) if len(values) == math.prod(shape) else None


def words(values: np.ndarray, array: Array) -> np.ndarray:
  """Integers as words of 32 bits, in the order in which a layout has them.

  Args:
    values: of the shape of the array.
    array: dtype and layout, such as `2,1,0:T(8,128)(4,1)`: the order of axes,
      minor first; tiles of the last two; how many of the first are in a word.

  >>> import numpy as np
  >>> from attnjax.plan.hlo import Array
  >>> words(np.arange(4), Array("s8", (4,), 0, "0")).tolist()
  [50462976]
  """
  size = _BYTES[array.dtype]
  kinds = {1: np.uint8, 2: np.uint16, 4: np.uint32}
  x = np.asarray(values).astype(kinds[size], casting="unsafe")
  x = np.atleast_1d(x)

  order = re.match(r"[\d,]*", array.layout)
  axes = [int(a) for a in order[0].split(",") if a] if order else []
  if axes and x.ndim == len(axes):
    x = x.transpose(axes[::-1])
  tiles = [
    [int(n) for n in tile.split(",")]
    for tile in re.findall(r"\(([\d,]+)\)", array.layout)
  ]
  if tiles:
    x = _tiled(x, tiles)
  found = np.ascontiguousarray(x).tobytes()
  return np.frombuffer(found + b"\0" * (-len(found) % 4), np.int32)


def _tiled(x: np.ndarray, tiles: list[list[int]]) -> np.ndarray:
  """An array cut into tiles, and these into parts that share a word."""
  first = tiles[0]
  while x.ndim < len(first):
    x = x[None]
  *lead, cut = (x.shape[: -len(first)], x.shape[-len(first) :])
  more = [(0, -n % size) for n, size in zip(cut, first, strict=True)]
  x = np.pad(x, [(0, 0)] * len(lead[0]) + more)

  parts = [
    n
    for whole, size in zip(x.shape[-len(first) :], first, strict=True)
    for n in (whole // size, size)
  ]
  x = x.reshape(*lead[0], *parts)
  start, count = len(lead[0]), len(first)
  x = x.transpose(
    *range(start),
    *(start + 2 * n for n in range(count)),
    *(start + 2 * n + 1 for n in range(count)),
  )
  if tiles[1:] and count == 2 and tiles[1][1:] == [1]:
    *shape, rows, lanes = x.shape
    together = tiles[1][0]
    x = x.reshape(*shape, rows // together, together, lanes)
    x = np.moveaxis(x, -2, -1)
  return x
