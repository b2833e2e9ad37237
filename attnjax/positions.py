"""Positions: sinusoidal and learned tables, rotary encoding, ALiBi slopes.

Rotary: `rotary` with its options, to pass as ``position_encoding=``.
alibi_slopes: Slopes of ALiBi, one per head, from steep to flat.
learned: Looks up a learned table; the row of a position outside of it is NaN.
rotary: Rotates feature pairs by an angle proportional to the position.
sinusoidal: Sinusoids of geometrically growing wavelength, float32.
"""

from attnjax.ops.positions import *  # noqa: F403
from attnjax.ops.positions import __all__ as __all__
