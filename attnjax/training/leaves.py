"""The leaves of a training state by name: what is stored, and what fits.

A checkpoint holds a flat table of arrays, one a leaf, named by the leaf's path.
So a module, an optimizer's NamedTuples and a dataclass are all stored alike,
and the structure of what is restored is that of the tree asked for.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jax import tree_util

from attnjax.typing import PyTree

__all__ = [
  "Table",
  "assemble",
  "difference",
  "named",
  "restore_args",
  "storable",
  "table",
]


Table = dict[str, dict[str, Any]]  # leaf path -> its shape and dtype


def named(tree: PyTree) -> dict[str, Any]:
  """Each leaf under the text of its path.

  >>> named({"params": [1.0, 2.0], "step": 3})
  {"['params'][0]": 1.0, "['params'][1]": 2.0, "['step']": 3}
  """
  return {
    tree_util.keystr(path): leaf
    for path, leaf in tree_util.tree_flatten_with_path(tree)[0]
  }


def table(tree: PyTree) -> Table:
  """The shape and dtype of every leaf, fit for JSON.

  Args:
    tree: leaves are arrays, numbers, typed keys or `jax.ShapeDtypeStruct`.

  Returns:
    Leaf path -> `{"shape": [...], "dtype": "float32"}`.

  Raises:
    ValueError: a leaf is none of these.

  >>> import numpy as np
  >>> table({"step": np.zeros((2, 3), np.float32)})
  {"['step']": {'shape': [2, 3], 'dtype': 'float32'}}
  """
  return {name: _describe(name, leaf) for name, leaf in named(tree).items()}


def difference(stored: Table, asked: Table) -> str | None:
  """How a stored state does not fit the one asked for, or None if it does."""
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

  more = len(found) - 1
  return found[0] + (f" ({more} more leaves differ)" if more else "")


def storable(tree: PyTree) -> dict[str, Any]:
  """The arrays to store: keys as their data, numbers as 0-d arrays.

  A leaf of size 0 has nothing to store (and Orbax refuses it).
  """
  found = {name: _plain(name, leaf) for name, leaf in named(tree).items()}
  return {name: leaf for name, leaf in found.items() if leaf.size}


def restore_args(like: PyTree) -> dict[str, Any]:
  """How to read each stored leaf: straight onto its devices, or to the host."""
  return {
    name: _restore_arg(leaf)
    for name, leaf in named(like).items()
    if np.prod(_describe(name, leaf)["shape"])
  }


def assemble(like: PyTree, stored: dict[str, Any]) -> PyTree:
  """A tree with exactly the structure of `like` from stored arrays."""
  restored = [_as(leaf, stored.get(name)) for name, leaf in named(like).items()]
  return jax.tree.unflatten(jax.tree.structure(like), restored)


def _describe(name: str, leaf: Any) -> dict[str, Any]:
  """A leaf's shape and dtype; a Python number counts as JAX would take it."""
  if isinstance(leaf, (bool, int, float, complex)):
    leaf = jnp.asarray(leaf)
  dtype = getattr(leaf, "dtype", None)
  if dtype is None or not (_is_key(leaf) or _is_number(dtype)):
    raise ValueError(
      f"state: leaf {name} is a {type(leaf).__name__} ({dtype=}), expected an "
      "array of numbers, a number or a key; make it a static field"
    )
  return {"shape": list(leaf.shape), "dtype": str(dtype)}


def _plain(name: str, leaf: Any) -> Any:
  """A leaf as an array that Orbax stores."""
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
    return np.asarray(jnp.asarray(leaf))

  raise ValueError(
    f"state: leaf {name} is a {type(leaf).__name__}, which holds no values to "
    "save; pass arrays"
  )


def _restore_arg(leaf: Any) -> Any:
  """Shards go straight to their devices; the rest is read to the host."""
  if _sharding(leaf) is None or _is_key(leaf):
    return ocp.RestoreArgs(restore_type=np.ndarray)
  return ocp.ArrayRestoreArgs(
    sharding=_sharding(leaf), global_shape=leaf.shape, dtype=leaf.dtype
  )


def _as(leaf: Any, stored: Any) -> Any:
  """A stored array as the kind of thing that `leaf` is."""
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
    # A copy: the next step may donate it, and must not write to numpy's.
    return jnp.array(stored, dtype=leaf.dtype)

  return jax.device_put(stored, _sharding(leaf))


def _as_key(leaf: Any, stored: Any) -> jax.Array:
  """Typed keys from their data, of the implementation that `leaf` has."""
  empty = jnp.zeros(leaf.shape, leaf.dtype)
  if stored is None:
    return empty

  impl = jax.random.key_impl(empty)
  # device_put cannot spread keys over processes, jit can.
  wrap = jax.jit(
    lambda data: jax.random.wrap_key_data(data, impl=impl),
    out_shardings=_sharding(leaf),
  )

  return wrap(stored)


def _sharding(leaf: Any) -> Any:
  """Where a leaf has to be, or None if JAX may put it anywhere."""
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
  """A shape and dtype for a person."""
  return f"{tuple(entry['shape'])} {entry['dtype']}"
