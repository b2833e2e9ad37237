"""The program of a tile's function, flat, with a name for each of its axes.

A kernel keeps the numbers of a tile in two dimensions. To know which, each axis
of each value is named after the axis of an operand that it comes from: "t",
"s", or a feature axis by its size. Axes of size 1 have no name: they vanish.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.extend.core as jex
import numpy as np

from attnjax.ops.inlined import inlined

__all__ = [
  "ADDITIONS",
  "LOOKUPS",
  "CannotLower",
  "FlatProgram",
  "contracted_axis",
  "flat_program",
  "is_zero",
]

# Operations that find numbers in an array, and their transposes.
LOOKUPS = ("gather", "slice", "dynamic_slice", "concatenate")
ADDITIONS = ("scatter-add", "pad", "dynamic_update_slice")
_REDUCTIONS = [
  "reduce_sum",
  "reduce_max",
  "reduce_min",
  "reduce_and",
  "reduce_or",
  "argmax",
]


class CannotLower(NotImplementedError):
  """A tile's function has a part that no kernel can be made of; it says which.

  >>> raise CannotLower("sort")
  Traceback (most recent call last):
    ...
  attnjax.ops.tiles.flat_programs.CannotLower: sort
  """


class FlatProgram(NamedTuple):
  """A program without inner programs, and the names of its axes.

  Args:
    jaxpr: the program, of which what is not needed is left out.
    consts: the values of its constants.
    names: by value, one name an axis, None for those of size 1.
    sizes: how long each axis is, by name.
  """

  jaxpr: Any
  consts: list
  names: dict
  sizes: dict[str, int]


def flat_program(
  function: Callable,
  arguments: Sequence[jax.ShapeDtypeStruct],
  letters: Sequence[Sequence[str | None]],
) -> FlatProgram:
  """The flat program of a function, traced on arrays of some shapes.

  Args:
    function: of arrays, returning a list of arrays.
    arguments: their shapes and dtypes.
    letters: of each argument, a letter an axis: "t" and "s" are names, anything
      else of size > 1 is a feature axis; () leaves all axes without one.

  Raises:
    CannotLower: if one axis would have two names.

  >>> import jax
  >>> x = jax.ShapeDtypeStruct((8, 4), "float32")
  >>> program = flat_program(lambda x: [(2 * x).sum(0)], [x], ["t."])
  >>> [program.names[v] for v in program.jaxpr.outvars], program.sizes
  ([('f4',)], {'t': 8, 'f4': 4})
  """
  nested = jax.make_jaxpr(function)(*arguments)
  flat = lambda *xs: inlined(nested.jaxpr, nested.consts, xs)
  closed = jax.make_jaxpr(flat)(*arguments)
  jaxpr = closed.jaxpr.replace(eqns=_needed(closed.jaxpr))

  seeds = {}
  for v, axes in zip(jaxpr.invars, letters, strict=True):
    for d, letter in enumerate(axes):
      size = v.aval.shape[d]
      if size != 1:
        seeds[v, d] = letter if letter in ("t", "s") else f"f{size}"
  names, sizes = _named(jaxpr, seeds)
  return FlatProgram(jaxpr, closed.consts, names, sizes)


def _needed(jaxpr) -> list:
  """The lines of a flat program that its results depend on."""
  wanted = {v for v in jaxpr.outvars if not isinstance(v, jex.Literal)}
  kept = []
  for line in reversed(jaxpr.eqns):
    if wanted & set(line.outvars):
      kept.append(line)
      wanted |= {v for v in line.invars if not isinstance(v, jex.Literal)}
  return kept[::-1]


def _named(jaxpr, seeds: dict) -> tuple[dict, dict[str, int]]:
  """The names of all axes, those that are the same axis alike."""
  parent: dict = {}

  def root(x):
    while parent.setdefault(x, x) != x:
      x = parent[x]
    return x

  for line in jaxpr.eqns:
    for one, other in _same_axes(line):
      if not isinstance(one[0], jex.Literal):
        parent[root(one)] = root(other)

  names_of_roots: dict = {}
  for axis, name in seeds.items():
    known = names_of_roots.setdefault(root(axis), name)
    if known != name:
      raise CannotLower(f"an axis that is both {known!r} and {name!r}")

  variables = [*jaxpr.constvars, *jaxpr.invars]
  variables += [v for line in jaxpr.eqns for v in line.outvars]
  names: dict = {}
  sizes: dict = {}
  for v in variables:
    found: list[str | None] = []
    for d, size in enumerate(v.aval.shape):
      # An axis that comes from no operand is one of features too.
      name = names_of_roots.get(root((v, d)), f"f{size}")
      found.append(None if size == 1 else name)
      if size != 1 and sizes.setdefault(name, size) != size:
        raise CannotLower(f"axes {name!r} of {sizes[name]} and of {size}")
    names[v] = tuple(found)
  return names, sizes


def _same_axes(line):
  """Pairs of axes, each a value and a number, that one operation equates."""
  name, p, out = line.primitive.name, line.params, line.outvars[0]
  ins = line.invars
  shape = ins[0].aval.shape if ins else ()
  long = lambda v: [d for d, size in enumerate(v.aval.shape) if size != 1]

  if name == "broadcast_in_dim":
    onto = list(enumerate(p["broadcast_dimensions"]))
    return [((ins[0], d), (out, at)) for d, at in onto if shape[d] != 1]
  if name in ("reshape", "squeeze", "expand_dims"):
    pairs = list(zip(long(ins[0]), long(out), strict=False))
    sizes = [[v.aval.shape[d] for d in long(v)] for v in (ins[0], out)]
    return [((ins[0], d), (out, at)) for d, at in pairs if sizes[0] == sizes[1]]
  if name == "transpose":
    return [((ins[0], d), (out, at)) for at, d in enumerate(p["permutation"])]
  if name in _REDUCTIONS:
    kept = [d for d in range(len(shape)) if d not in p["axes"]]
    return [((ins[0], d), (out, at)) for at, d in enumerate(kept)]
  if name == "dot_general":
    return _same_axes_of_product(line)
  if name == "iota":
    return []
  if name in (*LOOKUPS, *ADDITIONS):
    return _same_axes_of_lookup(line)
  if name == "optimization_barrier":
    places = zip(ins, line.outvars, strict=True)
    return [((v, d), (w, d)) for v, w in places for d in long(w)]
  return [
    ((v, d), (out, d))
    for v in ins
    if v.aval.ndim == out.aval.ndim
    for d in long(v)
  ]


def _same_axes_of_lookup(line):
  """The same of a lookup, or of an addition to an array."""
  name, p, out, ins = (
    line.primitive.name,
    line.params,
    line.outvars[0],
    line.invars,
  )
  ranks = [range(v.aval.ndim) for v in ins]
  if name == "concatenate":
    pairs = [
      ((v, d), (out, d))
      for v, axes in zip(ins, ranks, strict=True)
      for d in axes
      if d != p["dimension"]
    ]
  elif name in ("gather", "scatter-add"):
    of, found = p["dimension_numbers"], name == "gather"
    windows = of.offset_dims if found else of.update_window_dims
    gone = of.collapsed_slice_dims if found else of.inserted_window_dims
    array, (index, axes) = ins[0], (ins[1], ranks[1])
    parts = out if found else ins[2]

    each = [d for d in range(parts.aval.ndim) if d not in windows]
    pairs = [
      ((index, d), (parts, at)) for d, at in zip(axes, each, strict=False)
    ]
    kept = [d for d in ranks[0] if d not in gone]
    # In an array that is looked up by a batch of indices nothing is kept.
    if len(kept) == len(windows):
      pairs += [
        ((array, d), (parts, at)) for d, at in zip(kept, windows, strict=True)
      ]
    if not found:
      pairs += [((array, d), (out, d)) for d in ranks[0]]
  else:
    arrays = ins[:2] if name == "dynamic_update_slice" else ins[:1]
    pairs = [((v, d), (out, d)) for v in arrays for d in range(v.aval.ndim)]
  size = lambda axis: axis[0].aval.shape[axis[1]]
  return [pair for pair in pairs if size(pair[0]) == size(pair[1]) != 1]


def _same_axes_of_product(line):
  """The same of a product of matrices."""
  (x, y), (out,) = line.invars, line.outvars
  (contracted, shared) = line.params["dimension_numbers"]
  pairs = [
    ((x, d), (y, e))
    for of in (contracted, shared)
    for d, e in zip(*of, strict=True)
  ]

  at = 0
  for d in shared[0]:
    pairs.append(((x, d), (out, at)))
    at += 1
  for k, v in enumerate((x, y)):
    for d in range(len(v.aval.shape)):
      if d not in contracted[k] and d not in shared[k]:
        pairs.append(((v, d), (out, at)))
        at += 1
  size = lambda axis: axis[0].aval.shape[axis[1]]
  return [pair for pair in pairs if size(pair[0]) == size(pair[1]) != 1]


def contracted_axis(line, names: dict) -> str | None:
  """The name of the axis that a product of matrices sums over.

  Args:
    line: of a jaxpr, a dot_general.
    names: of the axes of each value, as a `FlatProgram` has them.

  Returns:
    None where all axes that are summed over have size 1.

  Raises:
    CannotLower: for a batch of products, several axes at once, or factors that
      are no matrices.
  """
  contracted, shared = line.params["dimension_numbers"]
  left, right = line.invars
  if any(names[left][d] is not None for d in shared[0]):
    raise CannotLower("a batch of matrix products within a tile")

  axes = [names[left][d] for d in contracted[0] if names[left][d] is not None]
  if len(axes) > 1:
    raise CannotLower(f"a matrix product over the axes {axes} at once")

  free = [
    [name for name in names[v] if name is not None and name not in axes]
    for v in (left, right)
  ]
  if len(free[0]) > 1 or len(free[1]) > 1 or (free[0] and free[0] == free[1]):
    raise CannotLower(f"a matrix product with the axes {free}")
  return axes[0] if axes else None


def is_zero(x) -> bool:
  """Whether a value is known to be 0."""
  return isinstance(x, int | float | np.generic | np.ndarray) and not np.any(x)
