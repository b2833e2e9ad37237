"""Programs of JAX whose operations may be calls of inner programs."""

from collections.abc import Callable, Sequence

from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

__all__ = ["called", "inlined"]

_CALLS = {
  *("jit", "pjit", "closed_call", "core_call"),
  *("remat", "remat2", "checkpoint"),
  *("custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr"),
}
_PARAMETERS = ("jaxpr", "call_jaxpr", "fun_jaxpr")


def called(equation) -> ClosedJaxpr | None:
  """The program that an equation does nothing but call; None for others.

  A custom derivative is not part of it.

  >>> import jax
  >>> (line,) = jax.make_jaxpr(jax.jit(abs))(1.0).eqns
  >>> str(called(line).eqns[0].primitive), called(called(line).eqns[0])
  ('abs', None)
  """
  if equation.primitive.name not in _CALLS:
    return None
  params = equation.params
  inner = next(params[name] for name in _PARAMETERS if name in params)
  # By its constants, not by its type: since jax 0.12 the two types are one.
  return inner if hasattr(inner, "consts") else ClosedJaxpr(inner, ())


def inlined(
  jaxpr: Jaxpr,
  consts: Sequence,
  arguments: Sequence,
  bind: Callable | None = None,
) -> list:
  """The results of a program, its inner programs in place.

  Args:
    jaxpr: the program.
    consts: the values of its constants.
    arguments: of the program.
    bind: ``(equation, operands) -> results``, or None where the equation is to
      be computed as it stands.

  >>> import jax
  >>> closed = jax.make_jaxpr(lambda x: jax.jit(abs)(x) + 1)(1.0)
  >>> [float(x) for x in inlined(closed.jaxpr, closed.consts, [-2.0])]
  [3.0]
  """
  names = [*jaxpr.constvars, *jaxpr.invars]
  values = dict(zip(names, [*consts, *arguments], strict=True))
  read = lambda x: x.val if isinstance(x, Literal) else values[x]

  for equation in jaxpr.eqns:
    operands, inner = list(map(read, equation.invars)), called(equation)
    found = None
    if inner is not None:
      found = inlined(inner.jaxpr, inner.consts, operands, bind)
    elif bind is not None:
      found = bind(equation, operands)
    if found is None:
      found = equation.primitive.bind(*operands, **equation.params)
      found = found if equation.primitive.multiple_results else [found]
    values.update(zip(equation.outvars, found, strict=True))

  return list(map(read, jaxpr.outvars))
