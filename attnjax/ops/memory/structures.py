"""Networks of a memory, and features of their inputs.

A structure names its linear maps and composes them. It gets them as a function
`linear(name, x)`, because a map is stored either as a matrix, or as a matrix
plus a sum of outer products.
"""

import dataclasses
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from attnjax.typing import Array, Float

__all__ = [
  "Features",
  "Linear",
  "Structure",
  "gated_mlp",
  "linear_of",
  "matrix",
  "mlp",
  "polynomial",
]

Linear = Callable[[str, Array], Array]  # (name, x) -> x times the map


@dataclasses.dataclass(frozen=True)
class Structure:
  """A network of linear maps: the base of `matrix`, `mlp` and others.

  Args:
    residual: whether the input is added to the normalised output, so that an
      empty memory returns its input and not 0; needs D == E.

  >>> mlp(depth=3, expansion=2).shapes(4, 5)
  {'map_0': (4, 8), 'map_1': (8, 8), 'map_2': (8, 5)}
  """

  residual: bool = dataclasses.field(default=False, kw_only=True)

  @property
  def is_linear(self) -> bool:
    """Whether there is one map, and the output is linear in it."""
    return False

  @property
  def solves(self) -> bool:
    """Whether its maps are sums of what was told, for reads to solve with."""
    return False

  def shapes(self, width: int, value_width: int) -> dict[str, tuple[int, int]]:
    """Name -> sizes of input and output of each map."""
    raise NotImplementedError

  def told(self, keys: Array, values: Array) -> dict[str, Array]:
    """Where it `solves`: name -> what a token adds along its key."""
    raise NotImplementedError

  def through(self, linear: Linear, x: Array) -> Array:
    """The network without its residual, ``... D -> ... E``."""
    raise NotImplementedError

  def __call__(
    self,
    linear: Linear,
    x: Float[Array, "... D"],
    gain: Float[Array, " E"] | None = None,
  ) -> Float[Array, "... E"]:
    """The output of the network, its residual included.

    Args:
      linear: the maps.
      x: queries or keys.
      gain: factors of the normalised output beside a residual; None is 1.
    """
    y = self.through(linear, x)
    if not self.residual:
      return y
    y = _normalized(y)
    if gain is not None:
      y = y * gain.reshape((1,) * (y.ndim - 1) + (-1,))
    return x + y

  def validate(self, width: int, value_width: int) -> None:
    """Raises ValueError if vectors of these widths do not fit."""
    if self.residual and width != value_width:
      raise ValueError(
        f"memory: residual=True adds a query of width {width} to a value of"
        f" width {value_width}; make them equal, or leave the residual out"
      )


def _normalized(x):
  """Shifts and scales to mean 0 and variance 1 over the features."""
  x = x - x.mean(-1, keepdims=True)
  # As in layer norms, ε bounds the gradient at a constant vector.
  return x * jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + 1e-6)


@dataclasses.dataclass(frozen=True)
class _Matrix(Structure):
  @property
  def is_linear(self):
    return not self.residual

  def shapes(self, width, value_width):
    return {"map_0": (width, value_width)}

  def through(self, linear, x):
    return linear("map_0", x)


@dataclasses.dataclass(frozen=True)
class _Mlp(Structure):
  depth: int
  expansion: int

  def shapes(self, width, value_width):
    # The output map comes last; `NeuralMemory` initializes it to 0.
    hidden = [self.expansion * width] * (self.depth - 1)
    sizes = [width, *hidden, value_width]
    return {f"map_{n}": (sizes[n], sizes[n + 1]) for n in range(self.depth)}

  def through(self, linear, x):
    for n in range(self.depth - 1):
      # No nonlinearity after the last map: outputs have to reach any value.
      x = jax.nn.gelu(linear(f"map_{n}", x))
    return linear(f"map_{self.depth - 1}", x)


@dataclasses.dataclass(frozen=True)
class _GatedMlp(Structure):
  expansion: int

  def shapes(self, width, value_width):
    hidden = self.expansion * width
    up = (width, hidden)
    return {"gate": up, "up": up, "down": (hidden, value_width)}

  def through(self, linear, x):
    return linear("down", jax.nn.silu(linear("gate", x)) * linear("up", x))


def matrix(*, residual: bool = False) -> Structure:
  """One matrix, M(x) = x W, as in linear attention and delta rules.

  Args:
    residual: see `Structure`.

  >>> matrix().shapes(3, 2)
  {'map_0': (3, 2)}

  Reference:
    Schlag, Irie, Schmidhuber, "Linear Transformers Are Secretly Fast Weight
    Programmers", 2021, arXiv 2102.11174.
  """
  return _Matrix(residual=residual)


def mlp(
  depth: int = 2, expansion: int = 4, *, residual: bool = False
) -> Structure:
  """A perceptron, M(x) = gelu(gelu(x W_0) W_1) ... W_last, without biases.

  Args:
    depth: maps, >= 1; one is `matrix`.
    expansion: hidden width in units of D, >= 1.
    residual: see `Structure`.

  Raises:
    ValueError: if a size is below 1.

  >>> mlp(2, 4).shapes(3, 2)
  {'map_0': (3, 12), 'map_1': (12, 2)}

  Reference:
    Behrouz, Zhong, Mirrokni, "Titans: Learning to Memorize at Test Time", 2025,
    arXiv 2501.00663, section 3.1; Sun et al., "Learning to (Learn at Test
    Time)", 2024, arXiv 2407.04620, section 2.7.
  """
  _at_least_one("mlp", depth=depth, expansion=expansion)
  if depth == 1:
    return _Matrix(residual=residual)
  return _Mlp(depth, expansion, residual=residual)


def gated_mlp(expansion: int = 2, *, residual: bool = False) -> Structure:
  """A gated perceptron, M(x) = (silu(x W_gate) ⊙ x W_up) W_down.

  Args:
    expansion: hidden width in units of D, >= 1.
    residual: see `Structure`.

  Raises:
    ValueError: if the expansion is below 1.

  >>> sorted(gated_mlp().shapes(3, 2))
  ['down', 'gate', 'up']

  Reference:
    Zhang et al., "Test-Time Training Done Right", 2025, arXiv 2505.23884; the
    unit: Shazeer, "GLU Variants Improve Transformer", 2020, arXiv 2002.05202.
  """
  _at_least_one("gated_mlp", expansion=expansion)
  return _GatedMlp(expansion, residual=residual)


def _at_least_one(name: str, **sizes: int) -> None:
  """Raises ValueError for a size below 1."""
  for size, value in sizes.items():
    if value < 1:
      raise ValueError(f"{name}: {size} must be at least 1, got {value}")


def linear_of(weights: dict[str, Array]) -> Linear:
  """The function (name, x) -> x W of maps that are stored as matrices.

  >>> import jax.numpy as jnp
  >>> linear_of({"map_0": jnp.eye(2)})("map_0", jnp.ones(2)).tolist()
  [1.0, 1.0]
  """
  return lambda name, x: x @ weights[name]


@dataclasses.dataclass(frozen=True)
class Features:
  """Features φ of keys and queries: their powers up to a degree; 1 is x.

  >>> import jax.numpy as jnp
  >>> Features()(jnp.ones(3)).shape, Features().width(3)
  ((3,), 3)
  """

  degree: int = 1

  def width(self, width: int) -> int:
    """Number of features of a vector of a width."""
    return sum(width**n for n in range(1, self.degree + 1))

  def __call__(self, x: Float[Array, "... D"]) -> Float[Array, "... A"]:
    """The powers x^n / √n!, n = 1 .. degree, concatenated."""
    if self.degree == 1:
      return x
    powers = [x]
    for _ in range(1, self.degree):
      product = powers[-1][..., :, None] * x[..., None, :]
      powers.append(product.reshape((*x.shape[:-1], -1)))
    # Either side has the root of 1/n!: φ(q) · φ(k) multiplies two of them.
    scaled = [
      power / math.sqrt(math.factorial(n)) for n, power in enumerate(powers, 1)
    ]
    return jnp.concatenate(scaled, -1)


def polynomial(degree: int = 2) -> Features:
  """Powers up to a degree, φ(q) · φ(k) = Σ_n (q · k)^n / n!, n = 1 .. degree.

  The first terms of exp(q · k) - 1. With more features one matrix can store
  more pairs.

  Args:
    degree: >= 1; the width grows as D^degree.

  Raises:
    ValueError: if the degree is below 1.

  >>> import jax.numpy as jnp
  >>> phi, q, k = polynomial(2), jnp.array([1.0, 2.0]), jnp.array([3.0, 0.5])
  >>> round(float(phi(q) @ phi(k)), 4), 4.0 + 4.0**2 / 2
  (12.0, 12.0)

  Reference:
    Behrouz et al., "ATLAS: Learning to Optimally Memorize the Context at Test
    Time", 2025, arXiv 2505.23735, section 3.
  """
  if degree < 1:
    raise ValueError(f"polynomial: degree must be at least 1, got {degree}")
  return Features(degree)
