"""Brings the arguments of each call of attention out of a traced program.

A program is traced with its calls marked (`ops.attention.observe`) and run once
more, equation by equation, as a program of JAX: what is within a scan leaves it
as one more stacked output. The result is a pure function that can be jitted and
differentiated. On its way the output of each head can be multiplied by a gate.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.extend.core
import numpy as np
from jax.extend.core import ClosedJaxpr, DropVar, Literal, jaxpr_as_fun
from jax.interpreters.partial_eval import dce_jaxpr

from attnjax.ops.attention.observe import (
  CALL,
  OUTPUT,
  Site,
  is_observed,
  observing,
)
from attnjax.ops.inlined import called

__all__ = ["Found", "Level", "Program", "in_order", "trace"]

# What a program returns.
_ARRAYS = jax.Array, np.ndarray, np.generic, int, float, complex

_REPEATED = (
  "capture: heads cannot be gated in a gradient of rematerialized layers, which"
  " call attention once more in their backward pass; give the loss itself, or a"
  " model without remat"
)


class Level(NamedTuple):
  """One scan or `vmap` around a call of attention.

  Args:
    mapped: which operands have an axis of it, in front of those of levels
      further in.
    length: steps of a scan; None for a `vmap`.
    reverse: whether a scan runs from its last step to its first.
  """

  mapped: tuple[bool, ...]
  length: int | None
  reverse: bool = False


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Found:
  """One call of attention as it stands in a program, of all steps of its scans.

  Args:
    operands: traced leaves of its arguments, stacked over the levels.
    site: the rest of its arguments.
    levels: scans and `vmap`s around it, the outermost first.
    place: indices of equations, one tuple a scan and one for the call: calls
      are made in the order of these.
  """

  operands: list
  site: Site = dataclasses.field(metadata={"static": True})
  levels: tuple[Level, ...] = dataclasses.field(metadata={"static": True})
  place: tuple = dataclasses.field(metadata={"static": True})

  @property
  def steps(self) -> tuple[int, ...]:
    """Steps of the scans around it."""
    return tuple(x.length for x in self.levels if x.length is not None)


@dataclasses.dataclass(frozen=True)
class Program:
  """A traced function whose calls of attention can be seen and gated.

  Args:
    closed: the program.
    tree: structure of what the function returns.
    leaves: the arrays that it was traced for.

  >>> import jax.numpy as jnp
  >>> program = trace(lambda x: 2 * x, jnp.ones(()))
  >>> float(program.run([jnp.asarray(3.0)])[0])
  6.0
  """

  closed: ClosedJaxpr
  tree: Any
  leaves: list

  @property
  def calls(self) -> int:
    """Calls of attention, those of a scan's step once."""
    return _count(self.closed.jaxpr)

  def run(self, leaves: Sequence, gates: Sequence | None = None):
    """(what the function returns, the calls found).

    Args:
      leaves: arrays in place of those it was traced for.
      gates: one array ``*steps H`` a call found, or ``*steps T H``, which
        multiplies the output of its heads; None leaves them.
    """
    found: list[Found] = []
    walk = _Walk(found, None if gates is None else list(gates))
    outs = walk.run(self.closed, list(leaves), ())
    return jax.tree.unflatten(self.tree, outs), found

  def reads(self) -> list[tuple[frozenset[int], frozenset[int]]]:
    """Of each call found, the leaves that its query and its key depend on.

    >>> import attnjax, jax.numpy as jnp
    >>> x = jnp.ones((3, 1, 2))
    >>> trace(attnjax.attend, x, 2 * x, 3 * x).reads()
    [(frozenset({0}), frozenset({1}))]
    """

    def sides(*leaves):
      found = self.run(leaves)[1]
      return [one.site.arguments(one.operands)[:2] for one in found]

    closed, shapes = jax.make_jaxpr(sides, return_shape=True)(*self.leaves)
    count = len(closed.jaxpr.outvars)

    def used(out: int) -> frozenset[int]:
      # Without what no other output needs, through scans and calls.
      _, needed = dce_jaxpr(closed.jaxpr, [n == out for n in range(count)])
      return frozenset(n for n, x in enumerate(needed) if x)

    return [(used(2 * n), used(2 * n + 1)) for n in range(len(shapes))]


def trace(function: Callable, *args: Any, **kwargs: Any) -> Program:
  """Traces a function with its calls of attention marked.

  Args:
    function: of arrays and anything else; a module is a function. It returns
      arrays. Its own jax.Arrays and those of its arguments are traced, all else
      is known while it is traced, as outside of `jit`.
    *args: for it.
    **kwargs: for it.

  Raises:
    ValueError: it is called within a function that is traced so itself, or the
      function returns something else than arrays.

  >>> import attnjax, jax.numpy as jnp
  >>> x = jnp.ones((3, 1, 2))
  >>> program = trace(attnjax.attend, x, x, x)
  >>> out, found = program.run(program.leaves)
  >>> len(found), out.shape
  (1, (3, 1, 2))
  """
  if is_observed():
    raise ValueError(
      "capture must not be called within what is captured, for the inner one"
      " would take the calls of attention from the outer one; capture the model"
      " that the function calls, once"
    )
  leaves, tree = jax.tree.flatten((function, args, kwargs))
  traced = [isinstance(x, jax.Array) for x in leaves]
  structure = None

  def flat(*arrays):
    nonlocal structure
    rest = iter(arrays)
    given = zip(leaves, traced, strict=True)
    whole = [next(rest) if t else x for x, t in given]
    function, args, kwargs = jax.tree.unflatten(tree, whole)
    outs, structure = jax.tree.flatten(function(*args, **kwargs))
    for out in outs:
      if not isinstance(out, _ARRAYS):
        raise ValueError(
          "model must return arrays, for it is traced and run as one program,"
          f" got {type(out).__name__} {out!r:.40} among what it returned;"
          " capture a function that returns its arrays alone"
        )
    return outs

  arrays = [x for x, t in zip(leaves, traced, strict=True) if t]
  with observing():
    closed = jax.make_jaxpr(flat)(*arrays)
  return Program(closed, structure, arrays)


def in_order(found: Sequence[Found]) -> list[tuple[int, tuple[int, ...]]]:
  """(which of the found, step of each scan around it) in the order of calls.

  >>> from attnjax.ops.attention.observe import Site
  >>> scan = Level((), 2)
  >>> one = [Found([], Site(()), (scan,), ((0,), (k,))) for k in range(2)]
  >>> in_order(one)
  [(0, (0,)), (1, (0,)), (0, (1,)), (1, (1,))]
  """
  every = [
    (which, steps)
    for which, one in enumerate(found)
    for steps in np.ndindex(*one.steps)
  ]
  return sorted(every, key=lambda each: _time(found[each[0]], each[1]))


def _time(one: Found, steps: tuple[int, ...]) -> tuple:
  """When a call is made: what sorts calls, equation by equation."""
  reverse = [x.reverse for x in one.levels if x.length is not None]
  turns = [
    -step if backward else step
    for backward, step in zip(reverse, steps, strict=True)
  ]
  first, *rest = one.place
  pairs = zip(turns, rest, strict=True)
  return (*first, *(x for turn, at in pairs for x in (turn, *at)))


class _Walk:
  """Runs programs, and keeps what their calls of attention were given."""

  def __init__(self, found: list[Found], gates: list | None):
    self.found = found
    self.gates = gates

  def run(
    self, closed: ClosedJaxpr, args: list, place: tuple[int, ...]
  ) -> list:
    """The results of a program, whose equations are numbered from `place`."""
    jaxpr = closed.jaxpr
    env: dict = dict(zip(jaxpr.constvars, closed.consts, strict=True))
    env |= dict(zip(jaxpr.invars, args, strict=True))
    read = lambda x: x.val if isinstance(x, Literal) else env[x]
    gate = None

    for number, eqn in enumerate(jaxpr.eqns):
      values, here = [read(x) for x in eqn.invars], (*place, number)
      if eqn.primitive is CALL:
        gate = self._call(eqn, values, here)
        outs = values[:1]
      elif eqn.primitive is OUTPUT:
        outs = [_gated(values[0], gate)]
      elif _count_of(eqn):
        outs = self._inside(eqn, values, here)
      else:
        if self.gates is not None and _count_of(eqn, again=True):
          raise NotImplementedError(_REPEATED)
        outs = _evaluated(jaxpr, eqn, values)
      env |= dict(zip(eqn.outvars, outs, strict=True))

    return [read(x) for x in jaxpr.outvars]

  def _call(self, eqn, values: list, here: tuple[int, ...]):
    """Keeps a call, and takes its gate."""
    maps = reversed(eqn.params["maps"])
    levels = tuple(Level(mapped, None) for mapped in maps)
    self.found.append(Found(values[1:], eqn.params["site"], levels, (here,)))
    return None if self.gates is None else self.gates.pop(0)

  def _inside(self, eqn, values: list, here: tuple[int, ...]) -> list:
    """The results of an equation that has calls of attention within."""
    name = eqn.primitive.name
    if name == "scan":
      return self._scan(eqn.params, values, here)
    inner = called(eqn)
    if inner is not None:
      return self.run(inner, values, here)
    raise NotImplementedError(
      f"capture: a call of attention is inside of a {name!r}, out of which its"
      " arrays cannot be brought; capture a function that calls attention in no"
      " loop of unknown length, no branch and no map over devices, such as one"
      " forward pass over the whole text"
    )

  def _scan(self, params, values: list, here: tuple[int, ...]) -> list:
    """A scan that has calls of attention in its step."""
    body = params["jaxpr"]
    fixed, init, scanned = _scan_arguments(params, values)
    carried = len(init)
    count, level, shared = _count(body.jaxpr), None, []
    gates = self.gates and [self.gates.pop(0) for _ in range(count)]

    def step(carry, x):
      x, gates = x
      inner = _Walk([], gates and list(gates))
      outs = inner.run(body, [*fixed, *carry, *x], ())
      # An operand that no step changes leaves the scan once, not stacked.
      nonlocal shared
      same = lambda x: any(x is y for y in fixed)
      shared = [
        [x if same(x) else None for x in f.operands] for f in inner.found
      ]
      stacked = [
        dataclasses.replace(
          f, operands=[None if same(x) else x for x in f.operands]
        )
        for f in inner.found
      ]
      return list(outs[:carried]), (outs[carried:], stacked)

    carry, (ys, found) = jax.lax.scan(
      step,
      init,
      (scanned, gates),
      length=params["length"],
      reverse=params["reverse"],
      unroll=params["unroll"],
    )

    for one, once in zip(found, shared, strict=True):
      level = Level(
        tuple(x is not None for x in one.operands),
        params["length"],
        params["reverse"],
      )
      operands = [
        x if y is None else y for x, y in zip(one.operands, once, strict=True)
      ]
      self.found.append(
        Found(operands, one.site, (level, *one.levels), (here, *one.place))
      )
    return [*carry, *ys]


def _scan_arguments(params, values: list) -> tuple[list, list, list]:
  """Constants, initial carry and scanned arrays among a scan's arguments."""
  if "ft_in" in params:  # since jax 0.12
    consts, init, scanned = params["ft_in"].update(values).unpack()
    return list(consts), list(init), list(scanned)

  first, end = params["num_consts"], params["num_carry"]
  end += first
  return values[:first], values[first:end], values[end:]


def _evaluated(jaxpr, eqn, values: list) -> list:
  """The results of an equation, in the context in which it was traced."""
  pairs = zip(eqn.invars, values, strict=True)
  named = {x: value for x, value in pairs if not isinstance(x, Literal)}
  alone = jaxpr.replace(
    constvars=[],
    invars=[*named],
    outvars=[x for x in eqn.outvars if not isinstance(x, DropVar)],
    eqns=[eqn],
    effects=eqn.effects,
  )
  rest = iter(jaxpr_as_fun(ClosedJaxpr(alone, ()))(*named.values()))
  return [None if isinstance(x, DropVar) else next(rest) for x in eqn.outvars]


def _gated(out, gate):
  """The output ``... T H E`` of a call, times gates ``H`` or ``T H``."""
  if gate is None:
    return out
  front = (1,) * (out.ndim - gate.ndim - 1)
  return out * gate.astype(out.dtype).reshape((*front, *gate.shape, 1))


def _count(jaxpr, again: bool = False) -> int:
  """Calls of attention in a program, at any depth."""
  return sum(_count_of(eqn, again) for eqn in jaxpr.eqns)


def _count_of(eqn, again: bool = False) -> int:
  """Calls in an equation; `again` counts those that repeat others, too."""
  if eqn.primitive is CALL:
    return 1
  # The backward pass of `jax.checkpoint` makes the calls of a layer once more.
  if eqn.params.get("differentiated", False) and not again:
    return 0
  inner = jax.extend.core.jaxprs_in_params(eqn.params)
  return sum(_count(jaxpr, again) for jaxpr in inner)
