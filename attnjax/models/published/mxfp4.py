"""Numbers of 4 bits with a scale for every 32 (MXFP4), as gpt-oss has them."""

from typing import Any

import numpy as np

__all__ = ["Mxfp4Weights", "dequantised"]

# Sign, two bits of exponent, one of mantissa.
_POSITIVE = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], np.float32)
_VALUES = np.concatenate([_POSITIVE, -_POSITIVE])
_BLOCKS, _SCALES = "_blocks", "_scales"


def dequantised(blocks: np.ndarray, scales: np.ndarray) -> np.ndarray:
  """float32 numbers of MXFP4 blocks.

      x[32 b + i] = value(nibble i of block b) · 2^(scale[b] - 127)

  Args:
    blocks: uint8 ``*B b 16``; the low nibble of a byte comes first.
    scales: uint8 ``*B b``.

  Returns:
    ``*B 32b``; exact, for a value has one bit of mantissa.

  >>> import numpy as np
  >>> blocks = np.array([[0x21] * 16], np.uint8)
  >>> dequantised(blocks, np.array([128], np.uint8))[:4].tolist()
  [1.0, 2.0, 1.0, 2.0]

  Reference:
    Open Compute Project, "OCP Microscaling Formats (MX) Specification", version
    1.0, 2023, section 5.
  """
  nibbles = np.stack([blocks & 0xF, blocks >> 4], axis=-1)
  values = _VALUES[nibbles.reshape((*blocks.shape[:-1], 32))]
  exponents = scales.astype(np.int32)[..., None] - 127
  found = np.ldexp(values, exponents)
  return found.reshape((*scales.shape[:-1], scales.shape[-1] * 32))


class Mxfp4Weights:
  """Weights of which some are MXFP4 pairs, ``X_blocks`` and ``X_scales``.

  A pair is read as one tensor X in float32. Its rows are outputs, and are
  turned: the tensors of experts are ``[expert, in, out]``.

  Args:
    weights: of the files.

  >>> from attnjax.models.published.weights import Weights
  >>> Mxfp4Weights(Weights({})).names()
  set()
  """

  def __init__(self, weights: Any):
    self._weights = weights
    names = weights.names()
    self._pairs = {
      name.removesuffix(_BLOCKS)
      for name in names
      if name.endswith(_BLOCKS)
      and name.removesuffix(_BLOCKS) + _SCALES in names
    }

  def names(self) -> set[str]:
    """Names of all tensors, a pair being one."""
    parts = {n + end for n in self._pairs for end in (_BLOCKS, _SCALES)}
    return (self._weights.names() - parts) | self._pairs

  def shape(self, name: str) -> tuple[int, ...]:
    """The shape of a tensor, without reading it."""
    if name not in self._pairs:
      return self._weights.shape(name)
    *lead, rows, blocks = self._weights.shape(name + _SCALES)
    return (*lead, 32 * blocks, rows)

  def dtype(self, name: str) -> np.dtype:
    """The dtype of a tensor."""
    if name in self._pairs:
      return np.dtype(np.float32)
    return self._weights.dtype(name)

  def read(self, name: str, out: np.ndarray) -> None:
    """Reads a tensor into an array of its shape and dtype."""
    if name in self._pairs:
      out[...] = self.get(name)
    else:
      self._weights.read(name, out)

  def get(self, name: str) -> np.ndarray:
    """A tensor as numpy; of a pair its numbers in float32."""
    if name not in self._pairs:
      return self._weights.get(name)
    get = lambda end: self._weights.get(name + end)
    return dequantised(get(_BLOCKS), get(_SCALES)).swapaxes(-1, -2)
