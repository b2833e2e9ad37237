"""Arrays sharded over explicit mesh axes, which stand in their types.

On such a mesh, which `jax.make_mesh` makes, the type of an array tells which
mesh axes divide which of its own, and JAX asks where a result shall lie if it
could lie in several ways. The answers are here, for the few places that need
one: whatever is divided stays divided.
"""

import functools
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax.sharding import AbstractMesh, NamedSharding, PartitionSpec

__all__ = [
  "by_device",
  "einsum",
  "explicit_mesh",
  "laid",
  "merged",
  "mesh_of",
  "names_of",
  "parted",
  "placed_alike",
  "rows_of",
  "sharding_of",
  "struct_of",
]

Names = tuple[tuple[str, ...], ...]  # mesh axes, for each axis of an array


def names_of(x) -> Names:
  """The mesh axes that divide each axis of an array, by its type.

  >>> import jax.numpy as jnp
  >>> names_of(jnp.ones((2, 3)))
  ((), ())
  """
  return _names(jax.typeof(x).sharding, jnp.ndim(x))


def _names(sharding, rank: int) -> Names:
  """The mesh axes of each axis; of no sharding there are none."""
  spec = () if sharding is None else sharding.spec
  found = [
    (part,) if isinstance(part, str) else tuple(part or ()) for part in spec
  ]
  return (*found, *((),) * (rank - len(found)))


def mesh_of(*arrays) -> AbstractMesh | None:
  """The mesh on which the type of one of these arrays divides it, if any.

  >>> import jax.numpy as jnp
  >>> mesh_of(jnp.ones(2)) is None
  True
  """
  for x in arrays:
    mesh = jax.typeof(x).sharding.mesh
    if mesh.explicit_axes and any(names_of(x)):
      return mesh
  return None


def placed_alike(x, *like):
  """The same value, on the mesh of explicit axes that others are on.

  A loop whose carry starts as a constant needs it: what comes out is there.

  >>> import jax.numpy as jnp
  >>> placed_alike(1.0, jnp.ones(2))
  1.0
  """
  mesh = explicit_mesh(*like)
  if mesh is None or explicit_mesh(x) is not None:
    return x
  return jax.reshard(x, sharding_of(mesh, ((),) * jnp.ndim(x)))


def explicit_mesh(*arrays) -> AbstractMesh | None:
  """The mesh of explicit axes on which one of these arrays is, if any is."""
  for x in arrays:
    mesh = jax.typeof(x).sharding.mesh
    if mesh.explicit_axes:
      return mesh
  return None


def sharding_of(mesh: AbstractMesh | None, names: Names) -> NamedSharding:
  """The sharding that divides each axis so, on a mesh that there must be."""
  if mesh is None:
    raise ValueError(f"an array divided over {names} must be on a mesh")
  return NamedSharding(mesh, PartitionSpec(*(n or None for n in names)))


def struct_of(x, *batch: tuple[int, tuple[str, ...], AbstractMesh | None]):
  """Shape, dtype and sharding of an abstract array, as a struct.

  Args:
    x: has them.
    *batch: size, mesh axes and mesh of an axis to put before the others.
  """
  names, mesh, shape = _names(x.sharding, len(x.shape)), None, x.shape
  if any(names):
    mesh = x.sharding.mesh
  for size, axis, its_mesh in batch:
    shape, names, mesh = (size, *shape), (axis, *names), its_mesh or mesh
  sharding = sharding_of(mesh, names) if any(names) else None
  return jax.ShapeDtypeStruct(shape, x.dtype, sharding=sharding)


def laid(x, mesh: AbstractMesh | None, names: Names):
  """An array, divided so."""
  if names_of(x) == names:
    return x
  return jax.reshard(x, sharding_of(mesh, names))


def merged(x, count: int):
  """An array with one axis for the first so many.

  >>> import jax.numpy as jnp
  >>> merged(jnp.ones((2, 3, 4)), 2).shape
  (6, 4)
  """
  shape = (math.prod(x.shape[:count]), *x.shape[count:])
  names = names_of(x)
  if not any(names[1:count]):
    return x.reshape(shape)
  # Rows of an inner axis are not neighbours: this moves them.
  together = (tuple(n for axis in names[:count] for n in axis), *names[count:])
  sharding = sharding_of(mesh_of(x), together)
  return jax.lax.reshape(x, shape, out_sharding=sharding)


def parted(x, sizes: tuple[int, ...], *like):
  """An array whose first axis is several, divided as those of others are.

  >>> import jax.numpy as jnp
  >>> parted(jnp.ones((6, 4)), (2, 3)).shape
  (2, 3, 4)
  """
  if len(sizes) == 1:
    return x
  shape, names = (*sizes, *x.shape[1:]), names_of(x)
  for other in like:
    own = names_of(other)[: len(sizes)]
    if names[0] and names[0] == tuple(n for axis in own for n in axis):
      sharding = sharding_of(mesh_of(x), (*own, *names[1:]))
      return jax.lax.reshape(x, shape, out_sharding=sharding)
  return x.reshape(shape)


def rows_of(table, index, **how):
  """``table[index]``, divided as the index is; ``how`` is that of `.at.get`.

  >>> import jax.numpy as jnp
  >>> rows_of(jnp.arange(3.0), jnp.array([2, 0])).tolist()
  [2.0, 0.0]
  """
  mesh = mesh_of(index, table)
  if mesh is None:
    return table.at[index].get(**how)
  names = (*names_of(index), *names_of(table)[1:])
  table = laid(table, mesh, ((), *names_of(table)[1:]))
  options = tuple(how.items())
  return _looked_up(table, index, sharding_of(mesh, names), options)


# Compiled: a mesh that is only a type has no devices for what is not.
@functools.partial(jax.jit, static_argnums=(2, 3))
def _looked_up(table, index, sharding: NamedSharding, options: tuple):
  return table.at[index].get(out_sharding=sharding, **dict(options))


def einsum(subscripts: str, x, y, **how):
  """`jnp.einsum` of two arrays ``...``, summed over axes that are divided too.

  The result is divided along the axes of the first, and of the second where it
  has others.
  """
  mesh = mesh_of(x, y)
  if mesh is None:
    return jnp.einsum(subscripts, x, y, **how)
  (left, right), out = (
    subscripts.split("->")[0].split(","),
    subscripts.split("->")[1],
  )
  named = _by_letter(right, y) | _by_letter(left, x)
  lead = len(x.shape) - len(left.replace("...", ""))
  names = (*names_of(x)[:lead], *(named[c] for c in out.replace("...", "")))
  return jnp.einsum(
    subscripts, x, y, out_sharding=sharding_of(mesh, names), **how
  )


def by_device(
  function: Callable, arrays: Sequence, letters: Sequence[str], out: str
):
  """A function of which each device computes its own part.

  Args:
    function: of the arrays, and of any part of them along the letters that are
      no dots.
    arrays: to give it.
    letters: one for each axis of each array, a dot where it must be whole.
    out: the letters of the result.

  >>> import jax.numpy as jnp
  >>> add = lambda x, y: x + y
  >>> by_device(add, [jnp.ones(2), jnp.ones(2)], ["b", "b"], "b").tolist()
  [2.0, 2.0]
  """
  mesh = mesh_of(*arrays)
  if mesh is None:
    return function(*arrays)
  named: dict[str, tuple[str, ...]] = {".": ()}
  for x, axes in zip(arrays, letters, strict=True):
    for letter, names in zip(axes, names_of(x), strict=True):
      taken = {n for every in named.values() for n in every}
      if names and not named.get(letter) and not taken.intersection(names):
        named[letter] = names
  of = lambda axes: tuple(named.get(letter, ()) for letter in axes)
  spec = lambda axes: sharding_of(mesh, of(axes)).spec
  placed = [
    laid(x, mesh, of(axes)) for x, axes in zip(arrays, letters, strict=True)
  ]
  used = {n for every in named.values() for n in every}
  if not used:
    return function(*placed)
  run = jax.shard_map(
    function,
    mesh=mesh,
    in_specs=tuple(map(spec, letters)),
    out_specs=spec(out),
    axis_names=used,
  )
  return run(*placed)


def _by_letter(letters: str, x) -> dict[str, tuple[str, ...]]:
  """Names of the axes that are named in a subscript, which come last."""
  letters = letters.replace("...", "")
  return dict(
    zip(letters, names_of(x)[jnp.ndim(x) - len(letters) :], strict=True)
  )
