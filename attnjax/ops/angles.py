"""Sine and cosine of position * frequency, exact however far the position.

In float32 the product of a position of 10^6 and a frequency is off by
hundredths of a radian. Here a frequency is a fixed-point fraction of a turn, of
64 bits, and the product is one of integers: whole turns fall off its top.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from attnjax.ops.integers import narrowed
from attnjax.ops.known import known, poison
from attnjax.typing import Array, Float, Int

__all__ = ["sine_and_cosine"]

# floor(2^192 / (2 pi)), the first binary digits of 1 / (2 pi).
_PER_TURN = 0x28BE60DB9391054A7F09D5F47D4D377036D8A5664F10E410


def sine_and_cosine(
  positions: Int[Array | np.ndarray, "*B T"],
  width: int,
  base: float,
  dtype=jnp.float32,
) -> tuple[Float[Array, "*B T M2"], Float[Array, "*B T M2"]]:
  """sin and cos of position / base^(2i / width), for each pair i of features.

  A position is within 32 bits, of any sign. In float32 the error stays below
  3e-7, at position 2^31 - 1 as at 1. Beside the sine and the cosine it takes
  some twenty integer operations an angle. Frequencies are those of float64.

  >>> import math
  >>> import numpy as np
  >>> sin, _ = sine_and_cosine(np.array([10**9]), 2, 10_000.0)
  >>> abs(sin[0, 0].item() - math.sin(10**9)) < 3e-7
  True
  """
  if width % 2:
    raise ValueError(
      f"positions: features are rotated in pairs, so the width must be even,"
      f" got {width}"
    )
  if not known(base) or not 0 < (base := float(np.asarray(base))) < math.inf:
    raise ValueError(
      "positions: base must be a finite number > 0, known while tracing, got"
      f" {base}"
    )
  frequency = _frequencies(width, base)
  if dtype == jnp.float64:
    return _in_float64(positions, frequency)
  positions, wrong = narrowed("positions", positions)
  positions = jnp.asarray(positions)
  high, low = _product(jnp.abs(positions), _turns(frequency))
  quarter, angle = _reduced(high, low)
  sin, cos = _turned(quarter, jnp.sin(angle), jnp.cos(angle))
  sin = jnp.where(positions[..., None] < 0, -sin, sin)
  return poison((sin, cos), wrong)


@functools.cache
def _frequencies(width: int, base: float) -> tuple[float, ...]:
  """base^(-2i / width) of each pair i, in float64."""
  return tuple((base ** (-np.arange(0, width, 2) / width)).tolist())


def _in_float64(positions, frequency):
  """The same in float64, where the plain product is as exact as its factors."""
  positions = jnp.asarray(positions)
  if not jnp.issubdtype(positions.dtype, jnp.integer):
    raise ValueError(f"positions must be integers, got {positions.dtype}")
  position = positions.astype(jnp.float64)[..., None]
  angle = position * _last(np.array(frequency), positions.ndim)
  return jnp.sin(angle), jnp.cos(angle)


@functools.cache
def _turns(frequency: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
  """Radians a position as fractions of a turn: high and low 32 bits."""
  words = []
  for x in frequency:
    over, under = x.as_integer_ratio()
    bits = (over * _PER_TURN * 2 // (under << 128) + 1) // 2 % 2**64
    words.append((bits >> 32, bits % 2**32))
  high, low = np.array(words, np.uint32).reshape((-1, 2)).T
  return high, low


def _product(position, turns):
  """position * turns, high and low 32 bits of its fraction of a turn."""
  count = jnp.asarray(position, jnp.uint32)[..., None]
  high, low = (_last(x, position.ndim) for x in turns)
  # The upper half of 32 by 32 bits, by halves of 16 bits.
  a, b, c, d = count >> 16, count & 0xFFFF, low >> 16, low & 0xFFFF
  middle = ((b * d) >> 16) + ((a * d) & 0xFFFF) + ((b * c) & 0xFFFF)
  upper = a * c + ((a * d) >> 16) + ((b * c) >> 16) + (middle >> 16)
  return upper + count * high, count * low


def _reduced(high, low):
  """The nearest quarter of a turn, 0 to 3, and radians from there."""
  quarter = (high + np.uint32(2**29)) >> 30
  signed = jax.lax.bitcast_convert_type(high - (quarter << 30), jnp.int32)
  turns = signed.astype(jnp.float32) * np.float32(2.0**-32)
  turns = turns + low.astype(jnp.float32) * np.float32(2.0**-64)
  return quarter, turns * np.float32(math.tau)


def _turned(quarter, sin, cos):
  """Sine and cosine so many quarters of a turn further."""
  odd, back = quarter % 2 == 1, quarter >= 2
  sin, cos = jnp.where(odd, cos, sin), jnp.where(odd, -sin, cos)
  return jnp.where(back, -sin, sin), jnp.where(back, -cos, cos)


def _last(x, rank: int):
  """A vector as the last of so many axes and one."""
  return x.reshape((1,) * rank + (-1,))
