"""Rotary frequencies for texts that are longer than those of training.

A scaling lowers the frequencies of rotary positions: `rotary` turns pair i of R
features by position · frequency[i], and without a scaling frequency[i] =
base^(-2i / R). All are computed in float64 and known while tracing.
"""

import dataclasses
import math

import numpy as np

__all__ = [
  "DynamicNTK",
  "Linear",
  "Llama3",
  "LongRope",
  "RotaryScaling",
  "Yarn",
]


@dataclasses.dataclass(frozen=True)
class RotaryScaling:
  """Base of scalings: no change of the frequencies.

  >>> RotaryScaling().frequencies(4, 100.0, 9).tolist()
  [1.0, 0.1]
  """

  @property
  def magnitude(self) -> float:
    """What sines and cosines are multiplied by: logits grow by its square."""
    return 1.0

  @property
  def by_length(self) -> bool:
    """Whether the frequencies depend on the length of the text."""
    return False

  def frequencies(self, width: int, base: float, length: int) -> np.ndarray:
    """Radians a position of each pair, float64 ``R / 2``.

    Args:
      width: R, features that are rotated, even.
      base: of the wavelengths.
      length: tokens of the text, which only some scalings ask for.
    """
    del length
    return base ** (-np.arange(0, width, 2) / width)


@dataclasses.dataclass(frozen=True)
class Linear(RotaryScaling):
  """Position interpolation: every frequency divided by a factor.

  >>> Linear(factor=2.0).frequencies(4, 100.0, 9).tolist()
  [0.5, 0.05]

  Reference:
    Chen et al., "Extending Context Window of Large Language Models via
    Positional Interpolation", 2023, arXiv 2306.15595.
  """

  factor: float

  def frequencies(self, width: int, base: float, length: int) -> np.ndarray:
    """See `RotaryScaling.frequencies`."""
    return super().frequencies(width, base, length) / self.factor


@dataclasses.dataclass(frozen=True)
class DynamicNTK(RotaryScaling):
  """A base that grows with a text that is longer than those of training.

      base' = base (factor · n / n0 - factor + 1)^(R / (R - 2)),  n = length

  Up to the original length n0 nothing changes. All keys of a text have the
  frequencies of one length.

  >>> scaling = DynamicNTK(factor=2.0, original_length=8)
  >>> plain = RotaryScaling().frequencies(6, 100.0, 8)
  >>> bool((scaling.frequencies(6, 100.0, 8) == plain).all())
  True
  >>> bool((scaling.frequencies(6, 100.0, 9)[1:] < plain[1:]).all())
  True

  Reference:
    bloc97 and emozilla, "Dynamically Scaled RoPE further increases performance
    of long context LLaMA with zero fine-tuning", 2023; Peng et al., "YaRN",
    2023, arXiv 2309.00071, section 3.3.
  """

  factor: float
  original_length: int

  @property
  def by_length(self) -> bool:
    """True: the base is that of the length."""
    return True

  def frequencies(self, width: int, base: float, length: int) -> np.ndarray:
    """See `RotaryScaling.frequencies`."""
    share = max(length, self.original_length) / self.original_length
    if width == 2 or share == 1:  # one pair has frequency 1 under every base
      return super().frequencies(width, base, length)
    grown = base * (self.factor * share - self.factor + 1) ** (
      width / (width - 2)
    )
    return super().frequencies(width, grown, length)


@dataclasses.dataclass(frozen=True)
class Yarn(RotaryScaling):
  """Interpolates slow pairs, keeps fast ones, with a ramp between them.

      frequency'[i] = frequency[i] (1 - ramp(i) + ramp(i) / factor)

  The ramp rises from 0 to 1 between the pairs that turn `fast` and `slow` times
  within the original length.

  Args:
    factor: by which the slow frequencies are divided.
    original_length: tokens that the model was trained on.
    fast: turns above which a pair is kept.
    slow: turns below which a pair is interpolated.
    gain: the magnitude; None is 0.1 ln(factor) + 1.
    whole: round the ends of the ramp outwards to whole pairs.

  >>> kept = Yarn(factor=4.0, original_length=4096).frequencies(64, 1e4, 9)
  >>> ratio = kept / RotaryScaling().frequencies(64, 1e4, 9)
  >>> float(ratio[0]), float(ratio[-1])
  (1.0, 0.25)

  Reference:
    Peng, Quesnelle, Fan, Shippole, "YaRN: Efficient Context Window Extension of
    Large Language Models", 2023, arXiv 2309.00071, section 3.2 to 3.4.
  """

  factor: float
  original_length: int
  fast: float = 32.0
  slow: float = 1.0
  gain: float | None = None
  whole: bool = True

  @property
  def magnitude(self) -> float:
    """The gain, or that of the paper."""
    if self.gain is not None:
      return self.gain
    return 0.1 * math.log(self.factor) + 1 if self.factor > 1 else 1.0

  def frequencies(self, width: int, base: float, length: int) -> np.ndarray:
    """See `RotaryScaling.frequencies`."""
    plain = super().frequencies(width, base, length)

    # The pair, as a real number, that turns so many times within the length.
    def pair(turns: float) -> float:
      return (
        width
        * math.log(self.original_length / (turns * math.tau))
        / (2 * math.log(base))
      )

    first, last = pair(self.fast), pair(self.slow)
    if self.whole:
      first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, width - 1)

    # A ramp of no width would divide by zero; published models use this one.
    last = last + 0.001 if first == last else last
    ramp = np.clip((np.arange(width // 2) - first) / (last - first), 0, 1)
    return plain * (1 - ramp) + plain / self.factor * ramp


@dataclasses.dataclass(frozen=True)
class Llama3(RotaryScaling):
  """Interpolates long wavelengths, keeps short ones, blends those between.

  A pair that turns more than `high` times within the original length is kept,
  one below `low` turns is divided by the factor.

  >>> scaling = Llama3(factor=8.0, original_length=8192)
  >>> kept = scaling.frequencies(128, 5e5, 9)
  >>> ratio = kept / RotaryScaling().frequencies(128, 5e5, 9)
  >>> float(ratio[0]), float(ratio[-1])
  (1.0, 0.125)

  Reference:
    Dubey et al., "The Llama 3 Herd of Models", 2024, arXiv 2407.21783, and the
    code published with Llama 3.1.
  """

  factor: float
  original_length: int
  low: float = 1.0
  high: float = 4.0

  def frequencies(self, width: int, base: float, length: int) -> np.ndarray:
    """See `RotaryScaling.frequencies`."""
    plain = super().frequencies(width, base, length)
    turns = self.original_length * plain / math.tau
    kept = np.clip((turns - self.low) / (self.high - self.low), 0, 1)
    return plain * kept + plain / self.factor * (1 - kept)


@dataclasses.dataclass(frozen=True)
class LongRope(RotaryScaling):
  """A searched factor for each pair, of short and of long texts.

  Args:
    short: factors that frequencies are divided by up to the original length.
    long: those of longer texts.
    original_length: tokens that the model was trained on.
    gain: the magnitude.

  >>> scaling = LongRope((1.0, 1.0), (1.0, 4.0), original_length=8)
  >>> [scaling.frequencies(4, 100.0, n).tolist() for n in (8, 9)]
  [[1.0, 0.1], [1.0, 0.025]]

  Reference:
    Ding et al., "LongRoPE: Extending LLM Context Window Beyond 2 Million
    Tokens", 2024, arXiv 2402.13753.
  """

  short: tuple[float, ...]
  long: tuple[float, ...]
  original_length: int
  gain: float = 1.0

  @property
  def magnitude(self) -> float:
    """The gain."""
    return self.gain

  @property
  def by_length(self) -> bool:
    """True: a text is short or long."""
    return True

  def frequencies(self, width: int, base: float, length: int) -> np.ndarray:
    """See `RotaryScaling.frequencies`.

    Raises:
      ValueError: if there is not one factor a pair.
    """
    factors = self.long if length > self.original_length else self.short
    if len(factors) != width // 2:
      raise ValueError(
        f"rotary: LongRope must have one factor for each of the {width // 2}"
        f" pairs that are rotated, got {len(factors)}"
      )
    return super().frequencies(width, base, length) / np.array(factors)
