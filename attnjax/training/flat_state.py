"""A training state as a flat dict of arrays, named by the paths of its leaves.

A checkpoint stores this dict. So modules, NamedTuples of an optimizer and
dataclasses are stored the same way, and a restored state has the structure of
the tree that was asked for.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jax import tree_util

from attnjax.typing import PyTree

__all__ = [
  "LeafSpecs",
  "flatten_state",
  "leaf_specs",
  "leaves_by_path",
  "restore_args",
  "spec_difference",
  "unflatten_state",
]


LeafSpecs = dict[str, dict[str, Any]]  # leaf path -> its shape and dtype


def leaves_by_path(tree: PyTree) -> dict[str, Any]:
  """Each leaf under the text of its path.

  >>> leaves_by_path({"params": [1.0, 2.0], "step": 3})
  {"['params'][0]": 1.0, "['params'][1]": 2.0, "['step']": 3}
  """
  return {
    tree_util.keystr(path): leaf
    for path, leaf in tree_util.tree_flatten_with_path(tree)[0]
  }


def leaf_specs(tree: PyTree) -> LeafSpecs:
  """The shape and dtype of every leaf, fit for JSON.

  Args:
    tree: leaves are arrays, numbers, typed keys or `jax.ShapeDtypeStruct`.

  Returns:
    Leaf path -> `{"shape": [...], "dtype": "float32"}`.

  Raises:
    ValueError: a leaf is none of these.

  >>> import numpy as np
  >>> leaf_specs({"step": np.zeros((2, 3), np.float32)})
  {"['step']": {'shape': [2, 3], 'dtype': 'float32'}}
  """
  return {
    name: _describe(name, leaf) for name, leaf in leaves_by_path(tree).items()
  }


def spec_difference(stored: LeafSpecs, asked: LeafSpecs) -> str | None:
  """The first difference of two states in words; None where they fit."""
  found = []
  for name in sorted(stored.keys() | asked.keys()):
    if name not in asked:
      found.append(
        f"leaf {name} {_text(stored[name])} is in the checkpoint and not in "
        "the state asked for"
      )
    elif name not in stored:
      found.append(
        f"leaf {name} {_text(asked[name])} is in the state asked for and not "
        "in the checkpoint"
      )
    elif stored[name] != asked[name]:
      found.append(
        f"leaf {name} is {_text(stored[name])} in the checkpoint and "
        f"{_text(asked[name])} in the state asked for"
      )

  if not found:
    return None

  # One difference is enough to act on; a changed width changes every leaf.
  more = len(found) - 1
  return found[0] + (f" ({more} more leaves differ)" if more else "")


def flatten_state(tree: PyTree) -> dict[str, Any]:
  """Path -> array to store: typed keys as their data, numbers as 0-d arrays.

  Leaves of size 0 are left out, for Orbax refuses them.
  """
  found = {
    name: _as_storable(name, leaf)
    for name, leaf in leaves_by_path(tree).items()
  }
  return {name: leaf for name, leaf in found.items() if leaf.size}


def restore_args(like: PyTree) -> dict[str, Any]:
  """Orbax arguments of each stored leaf: read to its devices, or to numpy."""
  return {
    name: _restore_arg(leaf)
    for name, leaf in leaves_by_path(like).items()
    # What has no elements was not stored.
    if np.prod(_describe(name, leaf)["shape"])
  }


def unflatten_state(like: PyTree, stored: dict[str, Any]) -> PyTree:
  """Inverse of `flatten_state`: a tree with the structure of `like`."""
  restored = [
    _restore_leaf(leaf, stored.get(name))
    for name, leaf in leaves_by_path(like).items()
  ]
  return jax.tree.unflatten(jax.tree.structure(like), restored)


def _describe(name: str, leaf: Any) -> dict[str, Any]:
  """Shape and dtype of a leaf; a Python number has the dtype JAX gives it."""
  if isinstance(leaf, (bool, int, float, complex)):
    leaf = jnp.asarray(leaf)
  dtype = getattr(leaf, "dtype", None)
  if dtype is None or not (_is_key(leaf) or _is_number(dtype)):
    raise ValueError(
      f"state: leaf {name} is a {type(leaf).__name__} ({dtype=}), expected an "
      "array of numbers, a number or a key; make it a static field"
    )
  return {"shape": list(leaf.shape), "dtype": str(dtype)}


def _as_storable(name: str, leaf: Any) -> Any:
  """A leaf as an array that Orbax can store."""
  _describe(name, leaf)
  if isinstance(leaf, jax.Array):
    if leaf.is_deleted():
      raise ValueError(
        f"state: leaf {name} is a deleted array, it was donated to an earlier "
        "call; save the state before it is donated, or the state that the "
        "call returned"
      )

    if jax.process_count() > 1 and leaf.is_fully_addressable:
      raise ValueError(
        f"state: leaf {name} lives on the devices of one process, and each has "
        "its own; make it global, by a jax.jit with out_shardings="
        "NamedSharding(mesh, PartitionSpec())"
      )

    return jax.random.key_data(leaf) if _is_key(leaf) else leaf

  if isinstance(leaf, (np.ndarray, np.generic)):
    return np.asarray(leaf)
  if isinstance(leaf, (bool, int, float, complex)):
    # By way of JAX, which gives a Python number its dtype: float32 without x64.
    return np.asarray(jnp.asarray(leaf))

  raise ValueError(
    f"state: leaf {name} is a {type(leaf).__name__}, which holds no values to "
    "save; pass arrays"
  )


def _restore_arg(leaf: Any) -> Any:
  """Orbax arguments of one leaf."""
  # Orbax knows no typed keys: their data is read to numpy and wrapped after.
  if _sharding(leaf) is None or _is_key(leaf):
    return ocp.RestoreArgs(restore_type=np.ndarray)
  return ocp.ArrayRestoreArgs(
    sharding=_sharding(leaf), global_shape=leaf.shape, dtype=leaf.dtype
  )


def _restore_leaf(leaf: Any, stored: Any) -> Any:
  """A stored array as a leaf of the type and sharding of `leaf`."""
  if isinstance(leaf, (bool, int, float, complex)):
    return type(leaf)(stored.item())
  if _is_key(leaf):
    return _as_key(leaf, stored)

  if stored is None:
    stored = np.zeros(leaf.shape, leaf.dtype)

  if isinstance(leaf, np.generic):
    return stored[()]
  if isinstance(leaf, np.ndarray):
    return stored
  if _sharding(leaf) is None:
    # A copy, for on CPU JAX may alias the buffer of numpy, which the next step
    # would then donate.
    return jnp.array(stored, dtype=leaf.dtype)

  return jax.device_put(stored, _sharding(leaf))


def _as_key(leaf: Any, stored: Any) -> jax.Array:
  """Wraps key data into typed keys of the implementation of `leaf`."""
  empty = jnp.zeros(leaf.shape, leaf.dtype)
  if stored is None:
    return empty

  impl = jax.random.key_impl(empty)
  # jit, for device_put cannot shard typed keys over processes.
  wrap = jax.jit(
    lambda data: jax.random.wrap_key_data(data, impl=impl),
    out_shardings=_sharding(leaf),
  )

  return wrap(stored)


def _sharding(leaf: Any) -> Any:
  """Sharding of a leaf; None where JAX may put it anywhere."""
  # Uncommitted: a sharding given to the restored leaf would pin it to a device.
  if isinstance(leaf, jax.Array) and not leaf.committed:
    return None
  return getattr(leaf, "sharding", None)


def _is_key(leaf: Any) -> bool:
  """Whether a leaf is an array of typed random keys."""
  dtype = getattr(leaf, "dtype", None)
  return dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key)


def _is_number(dtype: Any) -> bool:
  """Whether a dtype is a number or a bool, of numpy's or of JAX's."""
  return jnp.issubdtype(dtype, np.number) or dtype == np.bool_


def _text(entry: dict[str, Any]) -> str:
  """Shape and dtype in words, as in `(2, 3) float32`."""
  return f"{tuple(entry['shape'])} {entry['dtype']}"
