"""FLOPs and residual bytes of a function as written, before any compiler."""

import functools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import cast

import jax
from jax.extend.core import Jaxpr, JaxprEqn

from attnjax.ops.tiles.fold import AT_MOST
from attnjax.ops.tiles.tile_sum import sum_over_tiles
from attnjax.typing import PyTree

__all__ = ["jaxpr_flops", "residual_bytes"]


def jaxpr_flops(function: Callable, *arguments: PyTree) -> float:
  """Counts multiplications and additions of the matrix products of a function.

  Loops count at each trip, a branch as its dearest side. A `while`, whose trip
  count is not part of the jaxpr, counts once; the loop over the tiles of a mask
  that is known at run time counts every tile. A kernel counts what it says.

  Args:
    function: arrays -> anything.
    *arguments: arrays or `jax.ShapeDtypeStruct`.

  >>> import jax, jax.numpy as jnp
  >>> f = lambda x: jax.lax.scan(lambda x, _: (x @ x, None), x, length=3)[0]
  >>> jaxpr_flops(f, jnp.ones((5, 5))) == 3 * 2 * 5**3
  True
  """
  return _flops(jax.make_jaxpr(function)(*arguments).jaxpr)


def residual_bytes(function: Callable, params: PyTree, *rest: PyTree) -> int:
  """Bytes of the residuals that a forward pass keeps for its backward pass.

  Parameters, and casts of them, are in memory anyway and do not count.

  Args:
    function: (params, *rest) -> a scalar.
    params: what it is differentiated by.
    *rest: its other arguments.

  Residuals of sin(x w) summed are the cosine and x; the sum has none:

  >>> import jax.numpy as jnp
  >>> residual_bytes(lambda w, x: jnp.sin(x * w).sum(), jnp.float32(2),
  ...                jnp.ones(5)) >= 5 * 4
  True
  """

  def backward(params: PyTree, *rest: PyTree) -> Callable:
    return jax.vjp(lambda params: function(params, *rest), params)[1]

  # The result of `jax.vjp` is a pytree whose leaves are the residuals.
  leaves = jax.tree.leaves(jax.eval_shape(backward, params, *rest))
  known = [x.shape for x in jax.tree.leaves(params)]
  total = 0

  for leaf in leaves:
    # By shape, for a cast of a parameter has another dtype. Scalars are not
    # told apart that way, and weigh nothing.
    if leaf.shape in known and leaf.shape:
      known.remove(leaf.shape)
    # A PRNG key has no itemsize.
    elif not jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.extended):
      total += math.prod(leaf.shape) * leaf.dtype.itemsize

  return total


def _flops(jaxpr: Jaxpr) -> float:
  """FLOPs of the equations of a jaxpr, inner jaxprs included."""
  total = 0.0
  for equation in jaxpr.eqns:
    inner = [_flops(each) for each in _inner_jaxprs(equation.params)]
    name = equation.primitive.name
    if name == "dot_general":
      total += _dot(equation)
    elif name == "pallas_call" and equation.params.get("cost_estimate"):
      # The jaxpr of a kernel is of one place of its grid.
      total += equation.params["cost_estimate"].flops
    elif name == "attnjax_gpu_kernel":
      total += equation.params["flops"]
    elif name == "tile_sum":
      # Derivatives of attention; what it computes is not in the equation.
      shapes = [v.aval for v in equation.invars]
      total += jaxpr_flops(
        functools.partial(sum_over_tiles, **equation.params), *shapes
      )
    elif name == "cond" and equation.params.get("branches_platforms"):
      # The first is for the platform that the program was traced for.
      total += inner[0]
    elif name == "cond":
      total += max(inner, default=0.0)
    else:
      total += sum(inner) * _turns(equation.params)

  return total


def _turns(params: Mapping[str, object]) -> int:
  """How often the inner jaxprs of an equation run."""
  name = str(params.get("name", ""))
  if name.startswith(AT_MOST):
    return int(name.removeprefix(AT_MOST))
  # `length` is the trip count of a scan; nothing else has it.
  return cast(int, params.get("length", 1))


def _dot(equation: JaxprEqn) -> float:
  """2 x elements of the result x elements of the contracted axes."""
  (axes, _), _ = equation.params["dimension_numbers"]
  left, result = (
    cast(jax.core.ShapedArray, each.aval).shape
    for each in (equation.invars[0], equation.outvars[0])
  )
  return 2.0 * math.prod(result) * math.prod(left[axis] for axis in axes)


def _inner_jaxprs(params: Mapping[str, object]) -> Iterator[Jaxpr]:
  """Jaxprs among the parameters of an equation, under whatever name."""
  for value in params.values():
    for each in value if isinstance(value, tuple | list) else (value,):
      # A ClosedJaxpr holds a Jaxpr.
      inner = getattr(each, "jaxpr", each)
      if isinstance(inner, Jaxpr):
        yield inner
