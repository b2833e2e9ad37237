"""Sharding of a pytree over a mesh, by a table of path patterns.

A table is a sequence of rows `(pattern, spec, spec, ...)`. The first row whose
pattern is found in a leaf's path, `blocks.up.kernel.value`, decides; of its
specs the first that divides the leaf is taken. A spec applies to the last axes
of a leaf: layers that are stacked have more in front. Moments of an optimizer
carry the paths of their parameters, and so one table places both.
"""

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec

from attnjax.moved import forward_names
from attnjax.typing import PyTree

__all__ = [
  "AXES",
  "AnyMesh",
  "Rules",
  "common_mesh",
  "gather_tree",
  "initialise",
  "shard_tree",
  "shardings",
]


# Axes of a mesh, slowest first. Devices that are wired to each other are
# neighbours on the last axes: `tensor` communicates most, and a ring over
# `sequence` hides its sends only where every hop is one link.
AXES = ("data", "fsdp", "tensor", "sequence")

Rules = Sequence[tuple[Any, ...]]  # (pattern, spec, spec, ...)
AnyMesh = Mesh | AbstractMesh  # shapes can be placed where no device is


def shardings(
  tree: PyTree, mesh: AnyMesh, rules: Rules | None = None
) -> PyTree:
  """The `NamedSharding` of every leaf of a tree.

  Args:
    tree: of arrays or `jax.ShapeDtypeStruct`.
    mesh: with the axes of `AXES`.
    rules: a table. None shares each matrix out over `fsdp`, along its longest
      axis that can be divided, and nothing over `tensor`.

  Returns:
    A tree of the same structure, a `NamedSharding` a leaf.

  Raises:
    ValueError: no pattern of the table matches a leaf, or none of its specs
      divides it; or the mesh has a `tensor` axis and there is no table.

  >>> import jax
  >>> from jax.sharding import PartitionSpec
  >>> from attnjax.parallel import make_mesh
  >>> mesh = make_mesh(data=1, fsdp=4, tensor=2, sequence=1)
  >>> table = [("up.kernel", PartitionSpec("fsdp", "tensor"))]
  >>> state = {"up": {"kernel": jax.numpy.ones((3, 16, 6))}}
  >>> tuple(shardings(state, mesh, table)["up"]["kernel"].spec)
  (None, 'fsdp', 'tensor')
  """
  # Which axes are heads or features cannot be guessed from shapes.
  if rules is None and mesh.shape["tensor"] > 1:
    raise ValueError(
      f"mesh.tensor: expected 1, got {mesh.shape['tensor']}: nobody says which"
      " axes of this model it shares out; give rules, or use mesh.fsdp"
    )

  def place(path: Any, leaf: Any) -> NamedSharding:
    name = jax.tree_util.keystr(path, simple=True, separator=".")
    return NamedSharding(mesh, _spec(name, leaf.shape, mesh, rules))

  return jax.tree_util.tree_map_with_path(place, tree)


def initialise(
  make: Callable[..., PyTree],
  *arguments: PyTree,
  mesh: Mesh | None,
  rules: Rules | None = None,
) -> PyTree:
  """Makes parameters sharded from the start: no device ever has them whole.

  Args:
    make: arrays -> a tree of new arrays, a pure function.
    *arguments: for `make`. They are consumed.
    mesh: with the axes of `AXES`; None: JAX's default device.
    rules: as for `shardings`.

  Returns:
    The same numbers on every mesh.

  Raises:
    ValueError: as `shardings`.

  >>> import jax
  >>> from attnjax.parallel import make_mesh
  >>> make = lambda: {"kernel": jax.random.normal(jax.random.key(0), (8, 3))}
  >>> mesh = make_mesh(data=1, fsdp=8, tensor=1, sequence=1)
  >>> whole = initialise(make, mesh=None)["kernel"]
  >>> sharded = initialise(make, mesh=mesh)["kernel"]
  >>> sharded.addressable_shards[7].data.shape, bool((whole == sharded).all())
  ((1, 3), True)
  """
  if mesh is None:
    return jax.jit(make)(*arguments)
  places = shardings(jax.eval_shape(make, *arguments), mesh, rules)
  # Donated, so that old and new arrays need not fit the device together.
  donated = tuple(range(len(arguments)))
  return jax.jit(make, out_shardings=places, donate_argnums=donated)(*arguments)


def shard_tree(
  tree: PyTree, mesh: Mesh | None, rules: Rules | None = None
) -> PyTree:
  """Shards arrays over a mesh; those that are sharded so already stay.

  Args:
    tree: of arrays that every process has, or that lie on the mesh already.
    mesh: with the axes of `AXES`; None: nothing is moved.
    rules: as for `shardings`.

  >>> import jax
  >>> from attnjax.parallel import make_mesh
  >>> mesh = make_mesh(data=1, fsdp=8, tensor=1, sequence=1)
  >>> kernel = shard_tree(jax.numpy.ones((8, 3)), mesh)
  >>> kernel.shape, kernel.addressable_shards[0].data.shape
  ((8, 3), (1, 3))
  """
  if mesh is None:
    return tree
  return jax.tree.map(_put, tree, shardings(tree, mesh, rules))


def gather_tree(tree: PyTree) -> PyTree:
  """Gathers sharded arrays, each whole on the first device of each process.

  Leaf by leaf, so that at most one array exists twice. Arrays that are on one
  device already are not moved.

  Args:
    tree: of arrays, on one mesh or on one device.

  >>> import jax
  >>> from attnjax.parallel import make_mesh
  >>> mesh = make_mesh(data=1, fsdp=8, tensor=1, sequence=1)
  >>> kernel = gather_tree(shard_tree(jax.numpy.ones((8, 3)), mesh))
  >>> len(kernel.addressable_shards)
  1
  """
  return jax.tree.map(_gather, tree)


def common_mesh(tree: PyTree) -> Mesh | None:
  """The mesh over which a tree is sharded; None for one device."""
  for leaf in jax.tree.leaves(tree):
    place = getattr(leaf, "sharding", None)
    if isinstance(place, NamedSharding) and isinstance(place.mesh, Mesh):
      # A mesh of one device shards nothing.
      return place.mesh if place.mesh.size > 1 else None
  return None


def _spec(
  name: str, shape: tuple[int, ...], mesh: AnyMesh, rules: Rules | None
) -> PartitionSpec:
  """PartitionSpec of one leaf; mesh axes of size 1 are left out."""
  if rules is None:
    return _shard_longest(shape, mesh)
  for pattern, *specs in rules:
    if re.search(pattern, name):
      return _first_that_fits(name, shape, mesh, specs)
  raise ValueError(
    f"rules: no pattern is found in {name}; add a row for it, or ('',"
    " PartitionSpec()) as the last row for all that stays whole"
  )


def _first_that_fits(
  name: str,
  shape: tuple[int, ...],
  mesh: AnyMesh,
  specs: Sequence[PartitionSpec],
) -> PartitionSpec:
  """The first of several specs whose axes divide a shape."""
  reasons = []
  for spec in specs:
    axes = [_axes_above_one(mesh, part) for part in spec]
    # A spec is aligned to the last axes: stacked layers have more in front.
    axes = [()] * (len(shape) - len(axes)) + axes
    reason = _misfit(shape, axes, mesh)
    if reason is None:
      return PartitionSpec(*(one if len(one) != 1 else one[0] for one in axes))
    reasons.append(reason)

  raise ValueError(
    f"mesh: {name} has shape {shape}: {'; '.join(reasons)}. Choose a divisor"
    " for the mesh, or other sizes for the model"
  )


def _misfit(
  shape: tuple[int, ...], axes: Sequence[tuple[str, ...]], mesh: AnyMesh
) -> str | None:
  """Why axes of the mesh do not divide a shape; None where they do."""
  if len(axes) > len(shape):
    return f"its rule speaks of {len(axes)} axes"
  for number, (size, over) in enumerate(zip(shape, axes, strict=True)):
    if size % math.prod(mesh.shape[axis] for axis in over):
      said = " x ".join(f"mesh.{axis}={mesh.shape[axis]}" for axis in over)
      return f"{said} does not divide the {size} of axis {number}"
  return None


def _axes_above_one(mesh: AnyMesh, part: Any) -> tuple[str, ...]:
  """Axes of one entry of a spec that have more than one device."""
  names = (part,) if isinstance(part, str) else tuple(part or ())
  return tuple(name for name in names if mesh.shape[name] > 1)


def _shard_longest(shape: tuple[int, ...], mesh: AnyMesh) -> PartitionSpec:
  """`fsdp` on the longest axis that it divides; vectors stay replicated."""
  count = mesh.shape["fsdp"]
  divisible = [
    axis for axis, size in enumerate(shape) if size and not size % count
  ]
  if count == 1 or len(shape) < 2 or not divisible:
    return PartitionSpec()
  longest = max(divisible, key=lambda axis: shape[axis])
  return PartitionSpec(*(None,) * longest, "fsdp")


def _put(x: Any, place: NamedSharding) -> Any:
  """One array with a sharding."""
  if isinstance(x, jax.Array) and x.sharding == place:
    return x
  if jax.process_count() == 1:
    return jax.device_put(x, place)
  # `device_put` cannot address the devices of other processes: every process
  # has the whole array and passes on the shards of its own devices.
  whole = np.asarray(x)
  return jax.make_array_from_callback(
    whole.shape, place, lambda index: whole[index]
  )


def _gather(x: Any) -> Any:
  """One array, whole, on the first device of this process."""
  if common_mesh(x) is None:
    return x

  first = jax.local_devices()[0]
  if x.is_fully_addressable:
    return jax.device_put(x, first)

  # An all-gather, for parts are on devices of other processes.
  whole = jax.jit(
    lambda x: x,
    out_shardings=NamedSharding(x.sharding.mesh, PartitionSpec()),
  )(x)

  return jax.device_put(whole.addressable_data(0), first)


# Names of earlier versions, with a `DeprecationWarning`.
__getattr__ = forward_names(__name__)
