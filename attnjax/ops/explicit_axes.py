"""Operations on arrays sharded over explicit mesh axes (sharding in types).

On a mesh of `jax.make_mesh` the type of an array has its sharding, and JAX
raises where the sharding of a result is ambiguous. The functions here resolve
that for the few operations that need it: a sharded axis stays sharded.
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
  """The mesh axes over which each axis of an array is sharded, by its type.

  >>> import jax.numpy as jnp
  >>> names_of(jnp.ones((2, 3)))
  ((), ())
  """
  return _names(jax.typeof(x).sharding, jnp.ndim(x))


def _names(sharding, rank: int) -> Names:
  """The mesh axes of each array axis; empty without a sharding."""
  spec = () if sharding is None else sharding.spec
  found = [
    (part,) if isinstance(part, str) else tuple(part or ()) for part in spec
  ]
  return (*found, *((),) * (rank - len(found)))


def mesh_of(*arrays) -> AbstractMesh | None:
  """The mesh over which one of these arrays is sharded, by its type, or None.

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
  """Reshards a value, replicated, to the explicit mesh of other arrays.

  A loop carry that starts as a constant needs it: `scan` asks for equal types
  of the carry going in and coming out.

  >>> import jax.numpy as jnp
  >>> placed_alike(1.0, jnp.ones(2))
  1.0
  """
  mesh = explicit_mesh(*like)
  if mesh is None or explicit_mesh(x) is not None:
    return x
  return jax.reshard(x, sharding_of(mesh, ((),) * jnp.ndim(x)))


def explicit_mesh(*arrays) -> AbstractMesh | None:
  """The mesh with explicit axes of one of these arrays, or None."""
  for x in arrays:
    mesh = jax.typeof(x).sharding.mesh
    if mesh.explicit_axes:
      return mesh
  return None


def sharding_of(mesh: AbstractMesh | None, names: Names) -> NamedSharding:
  """The `NamedSharding` of these mesh axes; raises if there is no mesh."""
  if mesh is None:
    raise ValueError(f"an array divided over {names} must be on a mesh")
  return NamedSharding(mesh, PartitionSpec(*(n or None for n in names)))


def struct_of(x, *batch: tuple[int, tuple[str, ...], AbstractMesh | None]):
  """A `jax.ShapeDtypeStruct` of an abstract array, with further leading axes.

  Args:
    x: has a shape, a dtype and a sharding.
    *batch: size, mesh axes and mesh of each axis to prepend.
  """
  names, mesh, shape = _names(x.sharding, len(x.shape)), None, x.shape
  if any(names):
    mesh = x.sharding.mesh

  for size, axis, its_mesh in batch:
    shape, names, mesh = (size, *shape), (axis, *names), its_mesh or mesh

  sharding = sharding_of(mesh, names) if any(names) else None
  return jax.ShapeDtypeStruct(shape, x.dtype, sharding=sharding)


def laid(x, mesh: AbstractMesh | None, names: Names):
  """Reshards an array to these mesh axes, unless it has them already."""
  if names_of(x) == names:
    return x
  return jax.reshard(x, sharding_of(mesh, names))


def merged(x, count: int):
  """Reshapes the first `count` axes into one, keeping their sharding.

  >>> import jax.numpy as jnp
  >>> merged(jnp.ones((2, 3, 4)), 2).shape
  (6, 4)
  """
  shape = (math.prod(x.shape[:count]), *x.shape[count:])
  names = names_of(x)
  if not any(names[1:count]):
    return x.reshape(shape)

  # Shards of an inner axis are not contiguous rows, so this moves data.
  together = (tuple(n for axis in names[:count] for n in axis), *names[count:])
  sharding = sharding_of(mesh_of(x), together)
  return jax.lax.reshape(x, shape, out_sharding=sharding)


def parted(x, sizes: tuple[int, ...], *like):
  """Reshapes the first axis into several, sharded as those of other arrays.

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
  """``table[index]``, sharded as the index; ``how`` are options of `.at.get`.

  >>> import jax.numpy as jnp
  >>> rows_of(jnp.arange(3.0), jnp.array([2, 0])).tolist()
  [2.0, 0.0]
  """
  mesh = mesh_of(index, table)
  if mesh is None:
    return table.at[index].get(**how)

  names = (*names_of(index), *names_of(table)[1:])
  # All rows on every device: an index may ask for any of them.
  table = laid(table, mesh, ((), *names_of(table)[1:]))
  options = tuple(how.items())
  return _looked_up(table, index, sharding_of(mesh, names), options)


# Under `jit`: outside of it the abstract mesh of a type has no devices.
@functools.partial(jax.jit, static_argnums=(2, 3))
def _looked_up(table, index, sharding: NamedSharding, options: tuple):
  return table.at[index].get(out_sharding=sharding, **dict(options))


def einsum(subscripts: str, x, y, **how):
  """`jnp.einsum` of two arrays, which may sum over sharded axes.

  Axes of the result are sharded as in the first array, or as in the second
  where only that has them.
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
  """Runs a function on the shards of each device (`jax.shard_map`).

  Args:
    function: of the arrays; it must commute with slicing along axes whose
      letter is not a dot.
    arrays: its arguments.
    letters: one for each axis of each array, a dot for one that must not be
      sharded.
    out: the letters of the result.

  >>> import jax.numpy as jnp
  >>> add = lambda x, y: x + y
  >>> by_device(add, [jnp.ones(2), jnp.ones(2)], ["b", "b"], "b").tolist()
  [2.0, 2.0]
  """
  mesh = mesh_of(*arrays)
  if mesh is None:
    return function(*arrays)

  # An axis takes the mesh axes of the first array that has its letter, but a
  # mesh axis shards one letter only.
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
  """Mesh axes of each letter of a subscript; letters are the last axes."""
  letters = letters.replace("...", "")
  return dict(
    zip(letters, names_of(x)[jnp.ndim(x) - len(letters) :], strict=True)
  )
