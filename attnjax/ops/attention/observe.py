"""Marks the calls of attention in a traced program, for who looks into it.

`attend` and what is called like it pass their queries and their output through
two identities. Nothing is added to a program unless it is traced within
`observing()`; then both are equations of its jaxpr, at whatever depth of scans,
`jit` and `vmap`, that name the arguments of the call. `attnjax.viz.capture`
reads them.
"""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.extend.core
import jax.numpy as jnp
from jax.interpreters import ad, batching, mlir

from attnjax.ops.attention.arguments import Call

__all__ = [
  "CALL",
  "OUTPUT",
  "Site",
  "is_observed",
  "mark_call",
  "mark_output",
  "observing",
]

# Part of the key of every cache of traces: a function that was jitted before is
# traced anew within it, and the old trace is found again after it.
_OBSERVED = jax.make_user_context(False)
_LEFT_OUT = ("dropout_rate", "dropout_key", "aux")


@contextlib.contextmanager
def observing() -> Iterator[None]:
  """A context in which traced programs have their calls of attention marked.

  >>> import attnjax, jax, jax.numpy as jnp
  >>> x = jnp.ones((3, 1, 2))
  >>> with observing():
  ...   program = jax.make_jaxpr(attnjax.attend)(x, x, x)
  >>> [e.primitive.name for e in program.eqns if e.primitive in (CALL, OUTPUT)]
  ['attend_call', 'attend_output']
  """
  with _OBSERVED(True):
    yield


def is_observed() -> bool:
  """Whether what is traced now is traced within `observing`.

  >>> with observing():
  ...   print(is_observed())
  True
  """
  return bool(_OBSERVED.value)


class Site:
  """One call of attention as it was written: what of it is not traced.

  Args:
    arguments: (query, key, options), a pytree. Its traced leaves are operands
      of the equation, in order; the others stay here, with their values.
  """

  def __init__(self, arguments: Any):
    leaves, self._tree = jax.tree.flatten(arguments)
    traced = [isinstance(x, jax.core.Tracer) for x in leaves]
    held = zip(leaves, traced, strict=True)
    self._known = [None if t else (x,) for x, t in held]
    self.operands = [x for x, t in zip(leaves, traced, strict=True) if t]

  def arguments(self, operands) -> Any:
    """(query, key, options) with these operands in place of those traced."""
    rest = iter(operands)
    leaves = [next(rest) if x is None else x[0] for x in self._known]
    return jax.tree.unflatten(self._tree, leaves)

  def release(self) -> list:
    """The traced operands, which the site then forgets: they end with it."""
    operands, self.operands = self.operands, []
    return operands


def mark_call(
  call: Call, query, key, options: Mapping[str, Any]
) -> tuple[Call, Site | None]:
  """A call, its queries marked with its arguments where it is observed.

  Args:
    call: as it was checked.
    query: ``*B T H D``, as it was given, and so all that follows.
    key: ``*B S K D``.
    options: of `attend`. Dropout is left out, for it comes after the weights,
      and `aux` too.

  Returns:
    (call, site); the site is None where nobody observes.

  >>> import jax.numpy as jnp
  >>> from attnjax.ops.attention.arguments import checked_call
  >>> x = jnp.ones((3, 1, 2))
  >>> call = checked_call(x, x, x, {})
  >>> mark_call(call, x, x, {}) == (call, None)
  True
  """
  if not _OBSERVED.value:
    return call, None
  kept = {k: x for k, x in options.items() if k not in _LEFT_OUT}
  site = Site((query, key, kept))
  marked = CALL.bind(call.query, *site.release(), site=site, maps=())
  return dataclasses.replace(call, query=marked), site


def mark_output(out, site: Site | None):
  """The output of a call that was marked; where it was not, as it is.

  >>> mark_output(1.0, None)
  1.0
  """
  return out if site is None else OUTPUT.bind(out, site=site)


CALL = jax.extend.core.Primitive("attend_call")
OUTPUT = jax.extend.core.Primitive("attend_output")


def _first(operand, *others, **params):
  """Both primitives are the identity of their first operand."""
  del others, params
  return operand


for _primitive in (CALL, OUTPUT):
  _primitive.def_impl(_first)
  _primitive.def_abstract_eval(_first)
  mlir.register_lowering(_primitive, mlir.lower_fun(_first, False))


def _call_jvp(primals, tangents, **params):
  """JVP rule: the tangent of the queries passes."""
  out = CALL.bind(*primals, **params)
  return out, ad.instantiate_zeros(tangents[0])


def _output_jvp(primals, tangents, **params):
  """JVP rule: the tangent passes."""
  out = OUTPUT.bind(*primals, **params)
  return out, ad.instantiate_zeros(tangents[0])


def _call_batched(operands, axes, *, site, maps):
  """Batching rule: says which operands have one axis more, and it is first."""
  query, *rest = (
    x if axis is None else jnp.moveaxis(x, axis, 0)
    for x, axis in zip(operands, axes, strict=True)
  )
  mapped = tuple(axis is not None for axis in axes[1:])
  out = CALL.bind(query, *rest, site=site, maps=(*maps, mapped))
  return out, None if axes[0] is None else 0


def _output_batched(operands, axes, *, site):
  """Batching rule: heads stay the last axis but one."""
  return OUTPUT.bind(jnp.moveaxis(operands[0], axes[0], 0), site=site), 0


ad.primitive_jvps[CALL] = _call_jvp
ad.primitive_jvps[OUTPUT] = _output_jvp
batching.primitive_batchers[CALL] = _call_batched
batching.primitive_batchers[OUTPUT] = _output_batched
