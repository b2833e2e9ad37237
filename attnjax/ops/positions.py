"""Position encodings: sinusoidal, learned, rotary, and slopes of ALiBi.

Angles stay accurate at any position. In float32 the product of a position of
10^6 and a frequency is off by hundredths of a radian. Here a frequency is a
64-bit fixed-point fraction of a turn, and the product is one of integers modulo
2^64: full turns overflow and are dropped.
"""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from attnjax.ops.explicit_axes import rows_of
from attnjax.ops.integers import int32, narrowed
from attnjax.ops.rotary_scaling import RotaryScaling
from attnjax.ops.value_checks import known, poison
from attnjax.typing import Array, Float, Int

__all__ = [
  "Rotary",
  "alibi_slopes",
  "learned",
  "rotary",
  "sinusoidal",
]

# Sines and cosines of positions that are known while tracing are constants of
# the program up to so many, 8 MiB in float32.
_TABLE = 2**21


def sinusoidal(
  positions: Int[Array | np.ndarray, "*B T"],
  width: int,
  *,
  base: float = 10_000.0,
) -> Float[Array, "*B T M"]:
  """Sinusoids of geometrically growing wavelength, float32.

      code[t, 2i]     = sin(t / base^(2i / M))
      code[t, 2i + 1] = cos(t / base^(2i / M))

  Args:
    positions: int, any sign.
    width: M, even.
    base: of the wavelengths, which run from 2π to 2π · base.

  Raises:
    ValueError: if the width is odd.

  A shift is a rotation, the same at every position:

  >>> import jax.numpy as jnp
  >>> code = sinusoidal(jnp.arange(9), 4)
  >>> products = (code[1:] * code[:-1]).sum(-1)
  >>> bool(jnp.allclose(products, products[0], atol=1e-5))
  True

  Reference:
    Vaswani et al., "Attention Is All You Need", 2017, arXiv 1706.03762,
    section 3.5.
  """
  sin, cos = sine_and_cosine(positions, width, base)
  # Interleaved: features 2i and 2i + 1 are a pair.
  pairs = jnp.stack([sin, cos], axis=-1)
  return pairs.reshape((*sin.shape[:-1], width))


def learned(
  table: Float[Array, "N M"], positions: Int[Array | np.ndarray, "*B T"]
) -> Float[Array, "*B T M"]:
  """Looks up a learned table; the row of a position outside of it is NaN.

  >>> import jax.numpy as jnp
  >>> table = jnp.eye(2)
  >>> learned(table, jnp.array([1, 0, 2]))[:, 0].tolist()
  [0.0, 1.0, nan]

  Reference:
    Gehring et al., "Convolutional Sequence to Sequence Learning", 2017, arXiv
    1705.03122, section 3.1.
  """
  rows = table.shape[0]
  if not jnp.issubdtype(positions.dtype, jnp.integer):
    raise ValueError(
      "learned: positions must be whole numbers, for rows are looked up by"
      f" integers, got {positions.dtype}"
    )

  # A negative index would count from the end, so it is sent past the end. As
  # int32, because a narrow integer may not hold the number of rows.
  positions = int32("positions", positions)
  index = jnp.where(positions < 0, rows, positions)
  return rows_of(table, index, mode="fill", fill_value=jnp.nan)


def rotary(
  x: Float[Array, "*B T H D"],
  positions: Int[Array | np.ndarray, "..."],
  *,
  base: float = 10_000.0,
  interleaved: bool = False,
  features: int | None = None,
  scaling: RotaryScaling | None = None,
  length: int | None = None,
) -> Float[Array, "*B T H D"]:
  """Rotates feature pairs by an angle proportional to the position.

      (x[i], x[j]) -> (x[i] cos a - x[j] sin a, x[i] sin a + x[j] cos a)
      a = position / base^(2i / R)

  Where queries and keys are both rotated, their dot product depends on the
  positions only through their difference.

  Args:
    x: queries or keys, ``*B T H D``.
    positions: int ``*B T`` (or ``T``).
    base: of the wavelengths.
    interleaved: pair features (2i, 2i + 1), as the paper does; False pairs
      (i, i + R/2), as most published weights do.
    features: R, even, how many of the D are rotated, the first; None is all.
    scaling: changes the frequencies; see `attnjax.ops.rotary_scaling`.
    length: tokens of the text, for scalings that ask; None is T.

  Raises:
    ValueError: if R is odd or above D.

  >>> import jax.numpy as jnp
  >>> x = jnp.ones((6, 1, 4))
  >>> r = rotary(x, jnp.arange(6))[:, 0]
  >>> bool(jnp.allclose((r[5] * r[3]).sum(), (r[2] * r[0]).sum(), atol=1e-5))
  True

  Reference:
    Su et al., "RoFormer: Enhanced Transformer with Rotary Position Embedding",
    2021, arXiv 2104.09864, equation 34.
  """
  if features is not None and features < x.shape[-1]:
    turned, rest = x[..., :features], x[..., features:]
    turned = rotary(
      turned,
      positions,
      base=base,
      interleaved=interleaved,
      scaling=scaling,
      length=length,
    )
    return jnp.concatenate([turned, rest], axis=-1)
  width = x.shape[-1] if features is None else features
  if width != x.shape[-1]:
    raise ValueError(
      f"rotary: features must be at most the {x.shape[-1]} of a head, got"
      f" {features}"
    )

  # Computed in float32 or wider, and rounded once, to the dtype of x.
  dtype = jnp.float64 if x.dtype == jnp.float64 else jnp.float32
  length = x.shape[-3] if length is None else length
  sin, cos = (
    f.reshape((1,) * (x.ndim - f.ndim - 1) + (*f.shape[:-1], 1, f.shape[-1]))
    for f in sine_and_cosine(positions, width, base, dtype, scaling, length)
  )

  wide = x.astype(dtype)
  if interleaved:
    first, second = wide[..., 0::2], wide[..., 1::2]
  else:
    first, second = jnp.split(wide, 2, axis=-1)

  rotated = (first * cos - second * sin, first * sin + second * cos)
  if interleaved:
    return jnp.stack(rotated, axis=-1).reshape(x.shape).astype(x.dtype)
  return jnp.concatenate(rotated, axis=-1).astype(x.dtype)


@dataclasses.dataclass(frozen=True)
class Rotary:
  """`rotary` with its options, to pass as ``position_encoding=``.

  >>> import jax.numpy as jnp
  >>> x = jnp.ones((2, 1, 4))
  >>> bool((Rotary()(x, jnp.arange(2))[0] == x[0]).all())
  True
  """

  base: float = 10_000.0
  interleaved: bool = False
  features: int | None = None
  scaling: RotaryScaling | None = None
  length: int | None = None

  def __call__(
    self, x: Float[Array, "*B T H D"], positions: Int[Array | np.ndarray, "..."]
  ) -> Float[Array, "*B T H D"]:
    """Encodes queries or keys."""
    # `vars` and not `asdict`, which would copy the scaling to a dict.
    return rotary(x, positions, **vars(self))

  def of_length(self, length: int) -> "Rotary":
    """The encoding of a text of so many tokens, where its scaling asks."""
    if self.scaling is None or not self.scaling.by_length:
      return self
    return dataclasses.replace(self, length=length)


def alibi_slopes(heads: int) -> Float[Array, " H"]:
  """Slopes of ALiBi, one per head, from steep to flat.

      slope[h] = 2^(-8 (h + 1) / H)

  for a power of two; other counts take the next lower power's slopes and
  every second one of the double power's.

  Args:
    heads: H, >= 1.

  Raises:
    ValueError: if there is no head.

  >>> alibi_slopes(4).tolist()
  [0.25, 0.0625, 0.015625, 0.00390625]

  Reference:
    Press, Smith, Lewis, "Train Short, Test Long: Attention with Linear Biases
    Enables Input Length Extrapolation", 2021, arXiv 2108.12409, section 3.
  """
  if heads < 1:
    raise ValueError(f"alibi_slopes: heads must be at least 1, got {heads}")

  # Exact for powers of two, whose logarithm is a whole float.
  power = 2 ** int(math.log2(heads))
  slopes = [2.0 ** (-8 * (i + 1) / power) for i in range(power)]
  finer = [2.0 ** (-4 * (i + 1) / power) for i in range(2 * power)]
  return jnp.array(slopes + finer[0::2][: heads - power], jnp.float32)


# floor(2^192 / (2π)), the first 192 binary digits of 1 / (2π).
_PER_TURN = 0x28BE60DB9391054A7F09D5F47D4D377036D8A5664F10E410


def sine_and_cosine(
  positions: Int[Array | np.ndarray, "*B T"],
  width: int,
  base: float,
  dtype=jnp.float32,
  scaling: RotaryScaling | None = None,
  length: int = 0,
) -> tuple[Float[Array, "*B T M2"], Float[Array, "*B T M2"]]:
  """sin and cos of position · frequency[i], for each pair i of features.

  Without a scaling frequency[i] is base^(-2i / width).

  Positions are int32 of any sign. In float32 the error stays below 3e-7, at
  position 2^31 - 1 as at 1, for some twenty integer operations per angle.
  Frequencies are rounded to float64.

  >>> import math
  >>> import numpy as np
  >>> sin, _ = sine_and_cosine(np.array([10**9]), 2, 10_000.0)
  >>> abs(sin[0, 0].item() - math.sin(10**9)) < 3e-7
  True
  """
  if width % 2:
    raise ValueError(
      f"positions: width must be even, got {width}: features are rotated in"
      " pairs"
    )
  if not known(base) or not 0 < (base := float(np.asarray(base))) < math.inf:
    raise ValueError(
      "positions: base must be a finite number > 0, known while tracing, got"
      f" {base}"
    )
  scaling = RotaryScaling() if scaling is None else scaling
  frequency = tuple(scaling.frequencies(width, base, length).tolist())

  if isinstance(positions, np.ndarray) and positions.size * width <= _TABLE:
    # A constant of the program. Otherwise each layer would compute them, of
    # queries and of keys, and again in the backward pass: 7 % of a small step.
    with jax.ensure_compile_time_eval():
      sin, cos = _sine_and_cosine(positions, frequency, dtype)
    sin, cos = jnp.asarray(np.asarray(sin)), jnp.asarray(np.asarray(cos))
  else:
    sin, cos = _sine_and_cosine(positions, frequency, dtype)

  gain = scaling.magnitude
  return (sin, cos) if gain == 1 else (sin * gain, cos * gain)


def _sine_and_cosine(
  positions, frequency: tuple[float, ...], dtype
) -> tuple[Array, Array]:
  """`sine_and_cosine` of frequencies, computed where it stands."""
  if dtype == jnp.float64:
    positions = jnp.asarray(positions)
    if not jnp.issubdtype(positions.dtype, jnp.integer):
      raise ValueError(f"positions must be integers, got {positions.dtype}")
    # The plain product: its error is 2^-53 of a position below 2^31.
    position = positions.astype(jnp.float64)[..., None]
    angle = position * _last(np.array(frequency), positions.ndim)
    return jnp.sin(angle), jnp.cos(angle)

  positions, wrong = narrowed("positions", positions)
  positions = jnp.asarray(positions)
  # Of the magnitude: sine is odd and cosine even, so the sign comes last.
  high, low = _angle_in_turns(jnp.abs(positions), _turns(frequency))
  quarter, angle = _reduce_to_quarter(high, low)
  sin, cos = _rotate_quarters(quarter, jnp.sin(angle), jnp.cos(angle))

  sin = jnp.where(positions[..., None] < 0, -sin, sin)
  return poison((sin, cos), wrong)


@functools.cache
def _turns(frequency: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
  """Frequencies as fixed-point fractions of a turn: high and low 32 bits."""
  words = []
  for x in frequency:
    # Rounded to the nearest 2^-64 of a turn, in Python's integers.
    # A float is a ratio of integers: the product with `_PER_TURN` is exact.
    over, under = x.as_integer_ratio()
    bits = (over * _PER_TURN * 2 // (under << 128) + 1) // 2 % 2**64
    words.append((bits >> 32, bits % 2**32))
  high, low = np.array(words, np.uint32).reshape((-1, 2)).T
  return high, low


def _angle_in_turns(position, turns):
  """Position times frequency modulo one turn: high and low 32 bits."""
  count = jnp.asarray(position, jnp.uint32)[..., None]
  high, low = (_last(x, position.ndim) for x in turns)
  # The upper half of a product of 32 by 32 bits, from halves of 16 bits: JAX
  # has no 64-bit integers without x64.
  a, b, c, d = count >> 16, count & 0xFFFF, low >> 16, low & 0xFFFF
  middle = ((b * d) >> 16) + ((a * d) & 0xFFFF) + ((b * c) & 0xFFFF)
  upper = a * c + ((a * d) >> 16) + ((b * c) >> 16) + (middle >> 16)
  return upper + count * high, count * low


def _reduce_to_quarter(high, low):
  """Reduces an angle to the nearest quarter turn, 0 to 3, and radians."""
  quarter = (high + np.uint32(2**29)) >> 30
  # Read as int32, the remaining bits are within ±1/8 of a turn.
  signed = jax.lax.bitcast_convert_type(high - (quarter << 30), jnp.int32)
  turns = signed.astype(jnp.float32) * np.float32(2.0**-32)
  turns = turns + low.astype(jnp.float32) * np.float32(2.0**-64)
  return quarter, turns * np.float32(math.tau)


def _rotate_quarters(quarter, sin, cos):
  """Rotates sine and cosine by a number of quarter turns."""
  # A quarter turn maps (sin, cos) to (cos, -sin), a half turn negates both.
  odd, back = quarter % 2 == 1, quarter >= 2
  sin, cos = jnp.where(odd, cos, sin), jnp.where(odd, -sin, cos)
  return jnp.where(back, -sin, sin), jnp.where(back, -cos, cos)


def _last(x, rank: int):
  """Reshapes a vector to the last axis of rank + 1 axes."""
  return x.reshape((1,) * rank + (-1,))
