"""Arithmetic of a function as it is written, before any compiler."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax

__all__ = ["kept_bytes", "written_flops"]


def written_flops(function: Callable, *arguments: Any) -> float:
  """Multiplications and additions of the matrix products of a function.

  Loops count at each turn, a branch as the dearest of its sides; a `while` that
  does not tell its turns counts once.

  Args:
    function: arrays -> anything.
    *arguments: arrays or `jax.ShapeDtypeStruct`.

  >>> import jax.numpy as jnp
  >>> f = lambda x: jax.lax.scan(lambda x, _: (x @ x, None), x, length=3)[0]
  >>> written_flops(f, jnp.ones((5, 5))) == 3 * 2 * 5**3
  True
  """
  return _flops(jax.make_jaxpr(function)(*arguments).jaxpr)


def kept_bytes(function: Callable, params: Any, *rest: Any) -> int:
  """Bytes of what a forward pass keeps for the backward pass, as written.

  Parameters, and casts of them, are kept anyway and do not count.

  Args:
    function: (params, *rest) -> a scalar.
    params: what it is differentiated by.
    *rest: its other arguments.

  The input of the sine is kept, as its cosine, and the sum keeps nothing:

  >>> import jax.numpy as jnp
  >>> kept_bytes(lambda w, x: jnp.sin(x * w).sum(), jnp.float32(2),
  ...            jnp.ones(5)) >= 5 * 4
  True
  """

  def backward(params: Any, *rest: Any) -> Any:
    return jax.vjp(lambda params: function(params, *rest), params)[1]

  shapes = jax.tree.leaves(jax.eval_shape(backward, params, *rest))
  known = [x.shape for x in jax.tree.leaves(params)]
  total = 0
  for leaf in shapes:
    if leaf.shape in known and leaf.shape:
      known.remove(leaf.shape)
    elif not jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.extended):
      total += math.prod(leaf.shape) * leaf.dtype.itemsize
  return total


def _flops(jaxpr: Any) -> float:
  """Of all equations, those inside equations too."""
  total = 0.0
  for equation in jaxpr.eqns:
    inner = [_flops(each) for each in _inside(equation.params)]
    name = equation.primitive.name
    if name == "dot_general":
      total += _dot(equation)
    elif name == "cond":
      total += max(inner, default=0.0)
    else:
      total += sum(inner) * equation.params.get("length", 1)
  return total


def _dot(equation: Any) -> float:
  """2 x what is made x what is summed over."""
  (axes, _), _ = equation.params["dimension_numbers"]
  left = equation.invars[0].aval.shape
  summed = math.prod(left[axis] for axis in axes)
  return 2.0 * math.prod(equation.outvars[0].aval.shape) * summed


def _inside(params: Any) -> Iterator[Any]:
  """The jaxprs that an equation carries, whatever it calls them."""
  for value in params.values():
    for each in value if isinstance(value, tuple | list) else (value,):
      if hasattr(each, "jaxpr"):
        each = each.jaxpr
      if hasattr(each, "eqns"):
        yield each
