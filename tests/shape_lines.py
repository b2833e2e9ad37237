"""Lines of shapes, ``arguments -> results``, and how one is checked."""

import chex
import jax
import jax.numpy as jnp
import pytest

# All differ. H is a multiple of K and D is even, because they must be; the
# others are as odd as can be.
SIZE = {"B": 5, "T": 7, "S": 11, "H": 4, "K": 2, "D": 6, "E": 3, "M": 13}
SIZE |= {"F": 17, "V": 19, "L": 8, "C": 23, "N": 29, "W": 10, "X": 9}
B, T, S, H, K, D, E, M, F, V, L, C, N, W, X = SIZE.values()
DTYPES = {"int": jnp.int32, "bool": jnp.bool_, "bf16": jnp.bfloat16}
LINES: list[tuple] = []  # every one that was given to `shapes`


def shapes(*lines):
  """Parametrizes a test with ``line``: (public names, function, shapes)."""
  LINES.extend(lines)
  return pytest.mark.parametrize("line", lines, ids=line_id)


def line_id(line):
  """What a failing line is called."""
  names, function, text = line
  name = names.split(" ")[0] or getattr(function, "__name__", "")
  return f"{name.removeprefix('attnjax.')}: {text}"


def structs(text):
  """The arrays of one side of a line."""
  found = []
  for one in filter(None, map(str.strip, text.split(","))):
    dtype, *axes = one.split()
    if dtype not in DTYPES:
      dtype, axes = "", [dtype, *axes]
    shape = [SIZE[a] if a in SIZE else int(a) for a in axes if a != "()"]
    dtype = DTYPES.get(dtype, jnp.float32)
    found.append(jax.ShapeDtypeStruct(tuple(shape), dtype))
  return found


def results(function, text):
  """The leaves of what a function returns, given arrays of these shapes."""
  # Flat inside: a cache of shapes is not a cache of arrays to beartype.
  flat = lambda *x: jax.tree.leaves(function(*x))
  return jax.eval_shape(flat, *structs(text))


def check(line):
  """Raises AssertionError unless the results have the shapes and dtypes."""
  _, function, text = line
  arguments, expected = text.split("->")
  got, expected = results(function, arguments), structs(expected)
  assert len(got) == len(expected)
  chex.assert_trees_all_equal_shapes_and_dtypes(got, expected)
