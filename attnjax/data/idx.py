"""Reader of the idx format of MNIST: a header, then unsigned bytes."""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

__all__ = [
  "read_idx",
]


_BYTES = 0x08  # the format's code of unsigned bytes


def read_idx(path: Path, axes: int) -> np.ndarray:
  """An array of unsigned bytes out of a gzipped idx file.

  Args:
    path: the file.
    axes: how many axes it must have: 3 for images, 1 for labels.

  Returns:
    The array, uint8.

  Raises:
    ValueError: the file is broken, too short, too long, not of bytes, or has
      another number of axes.

  >>> import gzip
  >>> from pathlib import Path
  >>> import tempfile
  >>> path = Path(tempfile.mkdtemp()) / "labels.gz"
  >>> header = bytes([0, 0, 8, 1, 0, 0, 0, 2])
  >>> size = path.write_bytes(gzip.compress(header + bytes([7, 9])))
  >>> read_idx(path, axes=1)
  array([7, 9], dtype=uint8)
  """
  try:
    with gzip.open(path, "rb") as file:
      content = file.read()
  except (EOFError, zlib.error, gzip.BadGzipFile) as error:
    raise ValueError(
      f"{path} is no whole gzip file ({error}); get it anew."
    ) from error

  start = 4 + 4 * axes
  # Two zeros, the code of the dtype and the number of axes.
  if len(content) < start or content[:4] != bytes([0, 0, _BYTES, axes]):
    raise ValueError(
      f"{path}: expected an idx file of bytes with {axes} axes, whose first"
      f" bytes are {bytes([0, 0, _BYTES, axes])!r}, got {content[:4]!r}."
    )

  # The size of each axis, big-endian, 32 bits.
  shape = struct.unpack(f">{axes}I", content[4:start])
  if len(content) - start != math.prod(shape):
    raise ValueError(
      f"{path}: its header says {shape}, that is {math.prod(shape)} bytes, but"
      f" {len(content) - start} follow; get it anew."
    )

  return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
