"""Kernels on a mesh: what each device computes where types say who has what.

The compiler cannot divide a kernel. On a mesh whose axes are all explicit it
need not: the types of the arrays say which batch rows and heads a device has,
and these are a call of one device, within `jax.shard_map` over every axis.
"""

import jax
from jax.sharding import AbstractMesh, AxisType

from attnjax.ops.attention.arguments import Call
from attnjax.ops.attention.explicit_sharding import Split, refusal, split_of
from attnjax.ops.explicit_axes import explicit_mesh
from attnjax.ops.target import is_of_one_device

__all__ = ["is_by_device", "refuses_division", "split_for_kernels"]


def split_for_kernels(call: Call) -> Split | None:
  """How a call is divided into those of one device; None where it is not."""
  mesh = _mesh_of(call)
  if mesh is None or not _are_explicit(mesh):
    return None
  found = split_of(call) or Split(mesh, (), ())
  rest = _not_manual(mesh).difference(found.batch, found.heads)
  return found._replace(whole=tuple(sorted(rest)))


def refuses_division(call: Call) -> str | None:
  """Why no kernel can compute a call as it is divided; None if one can."""
  mesh = _mesh_of(call)
  if mesh is None:
    return None
  names = _automatic(mesh)
  if names and split_of(call) is None:
    return None
  if names:
    return (
      "a kernel is for one device, and the compiler may divide these arrays"
      f" over the automatic mesh axes {names}; call it within jax.shard_map,"
      " or make them explicit"
    )
  mapped = _mapped(mesh)
  if mapped:
    return (
      f"jax.vmap maps over what mesh axes {mapped} divide, of which a kernel"
      " knows nothing; give it as a batch axis, which needs no jax.vmap"
    )
  return refusal(call)


def is_by_device(call: Call) -> bool:
  """Whether the program of a call is surely one for each device."""
  mesh = _mesh_of(call)
  return is_of_one_device() if mesh is None else _are_explicit(mesh)


def _mesh_of(call: Call) -> AbstractMesh | None:
  """The mesh of explicit axes that a call is on, if there is one."""
  context = jax.sharding.get_abstract_mesh()
  mesh = explicit_mesh(*jax.tree.leaves(call))
  if mesh is not None:
    return mesh
  return context if context.explicit_axes else None


def _are_explicit(mesh: AbstractMesh) -> bool:
  """Whether no axis of a mesh is left to the compiler."""
  return not _automatic(mesh)


def _automatic(mesh: AbstractMesh) -> list[str]:
  """The axes over which the compiler may divide arrays, and does not say so."""
  kinds = zip(mesh.axis_names, mesh.axis_types, strict=True)
  return [
    name
    for name, kind in kinds
    if kind == AxisType.Auto and mesh.shape[name] != 1
  ]


def _not_manual(mesh: AbstractMesh) -> set[str]:
  """The axes that are not yet divided by `jax.shard_map`."""
  kinds = zip(mesh.axis_names, mesh.axis_types, strict=True)
  return {name for name, kind in kinds if kind != AxisType.Manual}


def _mapped(mesh: AbstractMesh) -> list[str]:
  """The axes that divide what `jax.vmap` maps over: types do not name them."""
  within: list[AbstractMesh] = []

  def look():
    within.append(jax.sharding.get_abstract_mesh())
    return ()

  # No such axis can be one of a `jax.shard_map` over every axis.
  jax.eval_shape(jax.shard_map(look, mesh=mesh, in_specs=(), out_specs=()))
  return sorted(_not_manual(within[0]))
