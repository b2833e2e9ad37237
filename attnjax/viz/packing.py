"""Weights in few bytes, for a page that carries them.

A weight w is the byte round(255 sqrt(w)): its error is at most sqrt(w) / 255,
so that the small weights of a head that looks everywhere keep their shape,
where bytes in proportion to w would leave one or two levels. Bytes are then
compressed (raw DEFLATE, RFC 1951, which a browser inflates) and base64.
"""

import base64
import zlib

import numpy as np

__all__ = ["pack", "quantized", "restored"]


def quantized(weights: np.ndarray, levels: int = 255) -> np.ndarray:
  """The byte of each weight in [0, 1], of so many levels above 0.

  >>> import numpy as np
  >>> quantized(np.array([0.0, 0.25, 1.0])).tolist()
  [0, 128, 255]
  """
  level = np.rint(levels * np.sqrt(np.clip(weights, 0, 1)))
  return np.rint(level * (255 / levels)).astype(np.uint8)


def restored(codes: np.ndarray) -> np.ndarray:
  """The weight of each byte, float64.

  >>> import numpy as np
  >>> weights = np.linspace(0, 1, 1000)
  >>> error = abs(restored(quantized(weights)) - weights)
  >>> bool((error <= np.sqrt(weights) / 255 + 1e-5).all())
  True
  """
  return np.square(codes / 255.0)


def pack(weights: np.ndarray, levels: int = 255) -> str:
  """Weights of any shape, row by row, as text.

  >>> import numpy as np
  >>> len(pack(np.zeros((8, 128, 128)))) < 300
  True
  """
  # Negative: a raw stream, without the header that zlib would write.
  squeeze = zlib.compressobj(6, zlib.DEFLATED, -15)
  codes = quantized(weights, levels).tobytes()
  data = squeeze.compress(codes) + squeeze.flush()
  return base64.b64encode(data).decode("ascii")
