"""Runs a problem on the attention under test: eager, jitted or transformed."""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from attnjax.testing import mask_descriptions
from attnjax.testing.parts import array_names
from attnjax.testing.problem import Problem

__all__ = ["How", "arrays", "called", "compiled", "found", "host", "precise"]

How = Literal["hurry", "user", "eager"]
_POSITIONAL = ("query", "key", "value")
_BY_NAME = (
  "query_positions",
  "key_positions",
  "query_segment_ids",
  "key_segment_ids",
  "mask",
)


def precise(problem: Problem):
  """The context manager that enables x64 for a float64 problem alone."""
  return jax.enable_x64(problem.x64)


def arrays(problem: Problem) -> tuple[dict, dict]:
  """(float arrays, integer arrays) of a problem, on the device, by name."""
  # Inside of `precise`: else JAX would make float32 of float64 arrays.
  move = lambda drawn: {n: jnp.asarray(x) for n, x in drawn.items()}
  return move(problem.floats()), move(problem.ints())


def called(attend: Callable, problem: Problem, **more) -> Callable:
  """The attention as a function ``(floats, ints) -> results`` of dictionaries.

  Args:
    attend: under test.
    problem: the call.
    **more: further options of the call, such as a dropout key.
  """

  def function(floats: dict, ints: dict) -> dict:
    given = dict(more)
    if "bias" in floats:
      given["bias"] = floats["bias"]
    given |= {name: ints[name] for name in _BY_NAME if name in ints}

    if problem.mask is not None:
      given["mask"] = mask_descriptions.build(problem.mask, ints)
    for role in ("scoring", "score_mod", "normalizer"):
      part = problem.part(role)
      if part is not None:
        names = array_names(part)
        given[role] = part.build(*(floats[f"{role} {n}"] for n in names))

    qkv = [floats[name] for name in _POSITIONAL]
    # Without `aux=`, `attend` returns one array and not a pair.
    if not problem.aux:
      return {"out": attend(*qkv, **given)}
    out, aux = attend(*qkv, **given, aux=problem.aux)
    return {"out": out} | {name: getattr(aux, name) for name in problem.aux}

  return function


def found(
  attend: Callable, problem: Problem, transform: Callable, how: How = "hurry"
):
  """Result of a transform of the attention under test, as numpy.

  Args:
    attend: under test.
    problem: the call.
    transform: of `derivatives`.
    how: "hurry" or "user", jitted without or with costly optimizations, see
      `compiled`; "eager", not jitted as a whole.
  """
  with precise(problem):
    floats, ints = arrays(problem)
    function = called(attend, problem)
    if how == "eager":
      return host(transform(lambda x: function(x, ints), floats))

    if problem.traced:
      traced = lambda x, i: transform(lambda y: function(y, i), x)
      return host(compiled(traced, hurry=how == "hurry")(floats, ints))
    # Closed over, integer arrays are known while the attention is traced.
    known = lambda x: transform(lambda y: function(y, ints), x)
    return host(compiled(known, hurry=how == "hurry")(floats))


def host(tree):
  """The tree with numpy arrays for those of JAX."""
  return jax.tree.map(np.asarray, tree)


def compiled(
  f: Callable, *, hurry: bool = True, static: tuple[int, ...] = ()
) -> Callable:
  """`jax.jit`, on a CPU without XLA's costly optimizations.

  Most programs of the suite run once, and compiling them takes most of its
  time. Cases of rounding (dtypes, large numbers, determinism) set ``hurry``
  false: they are compiled as a user's program is.

  Args:
    f: the function.
    hurry: whether to leave optimizations out.
    static: positions of the static arguments.
  """
  quick = hurry and jax.default_backend() == "cpu"
  options = {"xla_backend_optimization_level": 0} if quick else None
  return jax.jit(f, static_argnums=static, compiler_options=options)
