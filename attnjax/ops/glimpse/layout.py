"""Where weights lie on an input: the one rule by which they broadcast.

Logits with as many axes as the input lie on them axis by axis. Of logits with
fewer, the last axis lies on `axis` and those before it on the first axes of the
input, in order; every other axis has size 1.
"""

import dataclasses

import jax.numpy as jnp

from attnjax.typing import Array, Bool, Float, Shaped

__all__ = ["Layout", "axis_of", "lay"]


@dataclasses.dataclass(frozen=True)
class Layout:
  """How the axes of weights map to those of the input.

  Args:
    axis: of the input, counted from 0, along which the weights are shared.
    rank: axes of the input.
    given: axes of the logits, or of the mask where it has more.

  >>> import jax.numpy as jnp
  >>> layout = Layout(axis=1, rank=3, given=2)  # "B T" on "B T D"
  >>> layout.taken_off(jnp.ones((5, 7, 1))).shape, layout.row_shape((5, 7, 1))
  ((5, 7), (5,))
  """

  axis: int
  rank: int
  given: int

  def taken_off(self, weights: Float[Array, "..."]) -> Float[Array, "..."]:
    """Weights in the axes in which the logits were given."""
    if self.given == self.rank:
      return weights
    leading = weights.shape[: max(self.given - 1, 0)]
    return weights.reshape((*leading, weights.shape[self.axis]))

  def rows(self, x: Shaped[Array, "..."]) -> Shaped[Array, "..."]:
    """Weights with the shared axis last, as normalizers take them."""
    return jnp.moveaxis(x, self.axis, -1)

  def back(self, x: Shaped[Array, "..."]) -> Shaped[Array, "..."]:
    """The inverse of `rows`."""
    return jnp.moveaxis(x, -1, self.axis)

  def row_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of one number a row, from that of laid weights."""
    if self.given == self.rank:
      return shape[: self.axis] + shape[self.axis + 1 :]
    return shape[: max(self.given - 1, 0)]


def axis_of(inputs: Float[Array, "..."], axis: int) -> int:
  """The axis counted from 0; it must be one that the input has."""
  rank = inputs.ndim
  if not -rank <= axis < rank:
    raise ValueError(
      f"glimpse: axis must be one of the {rank} axes of the inputs, whose shape"
      f" is {list(inputs.shape)}, got {axis}"
    )
  return axis % rank


def lay(
  name: str,
  x: Float[Array, "..."] | Bool[Array, "..."],
  inputs: Float[Array, "..."],
  axis: int,
) -> Array:
  """Gives logits or a mask the rank of the input, by the rule above."""
  shape = _laid(x.shape, inputs.ndim, axis)
  fits = shape is not None and all(
    a == b or 1 in (a, b) for a, b in zip(shape, inputs.shape, strict=True)
  )
  # A logit for many parts would be a row of one, with weight 1 whatever it is.
  sizes = (inputs.shape[axis], 1) if name == "mask" else (inputs.shape[axis],)
  if shape is None or not fits or shape[axis] not in sizes:
    raise ValueError(_words(name, x, inputs, axis))
  return x.reshape(shape)


def _laid(
  shape: tuple[int, ...], rank: int, axis: int
) -> tuple[int, ...] | None:
  """The shape in the rank of the input; None where there is no such."""
  if len(shape) == rank:
    return shape
  leading, last = shape[:-1], shape[-1:] or (1,)
  if len(shape) > rank or len(leading) > axis:
    return None
  between = (1,) * (axis - len(leading))
  return (*leading, *between, *last, *(1,) * (rank - axis - 1))


def _words(name, x, inputs, axis) -> str:
  """Why something does not lie on the input, and what would."""
  length = inputs.shape[axis]
  last = f"{length} or 1" if name == "mask" else str(length)
  return (
    f"glimpse: {name} of shape {list(x.shape)} do not lie on inputs of shape"
    f" {list(inputs.shape)} along axis {axis}; give either {inputs.ndim} axes"
    f" that broadcast (and have size {last} on axis {axis}), or at most"
    f" {axis + 1}: the first axes of the inputs, then one of size {last}"
  )
