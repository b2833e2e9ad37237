"""Positions: sinusoidal and learned tables, rotary encoding, ALiBi slopes.

Rotary: `rotary` with its settings, to inject as ``position_encoding=``.
alibi_slopes: Slopes of ALiBi, one a head, from steep to flat.
learned: Looks up a learned table; a position outside of it is NaN, not a
  guess.
rotary: Rotates feature pairs by an angle proportional to the position.
sinusoidal: Sinusoids of geometrically growing wavelength, float32.
"""

from attnjax.ops.positions import *  # noqa: F403
from attnjax.ops.positions import __all__ as __all__
