"""The training state: step count, parameters, optimizer state, and a carry.

Nothing else needs saving: random keys and the order of the data are functions
of the step (see `step_key`), so that a restored run is equal bit for bit.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from attnjax.training.flat_state import leaves_by_path
from attnjax.training.partition import Rules, initialise, shard_tree, shardings
from attnjax.typing import Array, Key, PyTree

__all__ = ["TrainState", "check_trainable", "init", "init_on", "step_key"]


def check_trainable(model: PyTree) -> None:
  """Refuses leaves that are no real floats, and one array at two leaves.

  A step donates its arrays, and a buffer can be donated only once; besides,
  one array at two leaves would be two different ones after the first step,
  where tied weights were meant.

  Args:
    model: parameters; leaves may be traced, or `jax.ShapeDtypeStruct`.

  Raises:
    ValueError: names the first leaf that is something else.

  >>> import jax.numpy as jnp
  >>> check_trainable({"kernel": jnp.ones(3), "heads": 2})
  Traceback (most recent call last):
    ...
  ValueError: model: leaf ['heads'] must be real floats, got int32; ...
  """
  seen: dict[Any, str] = {}
  for name, leaf in leaves_by_path(model).items():
    _check_dtype(name, leaf)
    for buffer in _buffers(leaf):
      if buffer in seen:
        raise ValueError(
          f"model: leaf {name} must be an array of its own, got the one at leaf"
          f" {seen[buffer]}; tie weights by using one of them twice (such as"
          " embed.attend), or copy it: jnp.array(x)"
        )
      seen[buffer] = name


def _check_dtype(name: str, leaf: Any) -> None:
  """Refuses a leaf that is not an array of real floats."""
  dtype = jnp.result_type(leaf) if isinstance(leaf, _NUMBERS) else None
  dtype = getattr(leaf, "dtype", dtype)
  if dtype is None:
    raise ValueError(
      f"model: leaf {name} must be an array of real floats, got a"
      f" {type(leaf).__name__}; make it a static field"
    )

  if jnp.issubdtype(dtype, jnp.complexfloating):
    raise ValueError(
      f"model: leaf {name} must be real floats, got {dtype}; keep its real and"
      " imaginary parts as two arrays, and join them with jax.lax.complex"
    )

  if not jnp.issubdtype(dtype, jnp.floating):
    raise ValueError(
      f"model: leaf {name} must be real floats, got {dtype}; what is not"
      " trained is an argument of the loss, or a static field"
    )


_NUMBERS = (bool, int, float, complex)


def _buffers(leaf: Any) -> list[Any]:
  """Device and address of each shard's buffer: equal for equal arrays."""
  if not isinstance(leaf, jax.Array) or isinstance(leaf, jax.core.Tracer):
    return []
  # Arrays without elements may share one buffer, and a deleted one has none.
  if leaf.size == 0 or leaf.is_deleted():
    return []
  parts = [shard.data for shard in leaf.addressable_shards]
  return [(part.device, part.unsafe_buffer_pointer()) for part in parts]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
  """Step count, parameters, optimizer state and carry: a pytree.

  The fields are not annotated with array types because a pytree also holds
  shapes, shardings and tracers.

  Args:
    step: int32 scalar, the number of updates done so far.
    params: any pytree of float arrays, a `flax.nnx.Module` for instance.
    opt_state: what the Optax optimizer keeps about the parameters.
    carry: arrays that the loss of one step passes to that of the next, such as
      what a model has read so far; see `make_step`.

  >>> import jax.numpy as jnp
  >>> import optax
  >>> state = init({"kernel": jnp.ones((3, 5))}, optax.adam(1e-3))
  >>> int(state.step)
  0
  """

  step: Any
  params: Any
  opt_state: Any
  carry: Any = ()


def init(
  params: PyTree, optimizer: optax.GradientTransformation, carry: PyTree = ()
) -> TrainState:
  """The training state at step 0.

  Runs under `jax.jit` and `jax.eval_shape`, for sharded or abstract states.

  Args:
    params: any pytree of float arrays.
    optimizer: an Optax transformation, from `make_optimizer` or not.
    carry: what the first step is given, of arrays that no parameter has.

  Returns:
    The state at step 0. It holds the given parameters themselves, which the
    first step donates: copy them first if they are needed afterwards.

  Raises:
    ValueError: a leaf is no real floats, or one array is at two places.

  >>> import jax.numpy as jnp
  >>> import optax
  >>> init({"bias": jnp.ones(2)}, optax.sgd(0.1)).params["bias"].shape
  (2,)
  """
  check_trainable(params)
  # Optax mixes float and int scalars, which strict promotion refuses.
  with jax.numpy_dtype_promotion("standard"):
    opt_state = optimizer.init(params)
  return TrainState(jnp.zeros((), jnp.int32), params, opt_state, carry)


def init_on(
  mesh: Mesh,
  params: PyTree,
  optimizer: optax.GradientTransformation,
  rules: Rules | None = None,
) -> tuple[TrainState, tuple[PyTree, NamedSharding]]:
  """The training state at step 0 on a mesh, and the shardings of a step.

  Args:
    mesh: with the axes of `AXES`.
    params: as for `init`; from `initialise`, or of one device. Consumed.
    optimizer: an Optax transformation.
    rules: as for `shardings`; they place the moments as the parameters.

  Returns:
    The state at step 0, and `places` for `jit_step`.

  Raises:
    ValueError: as `shardings` and `init`.

  >>> import jax.numpy as jnp
  >>> import optax
  >>> from attnjax.parallel import make_mesh
  >>> mesh = make_mesh(data=1, fsdp=8, tensor=1, sequence=1)
  >>> params = {"kernel": jnp.ones((16, 5))}
  >>> state, _ = init_on(mesh, params, optax.adam(1e-3))
  >>> state.opt_state[0].mu["kernel"].addressable_shards[0].data.shape
  (2, 5)
  """
  # Before sharding, which would copy an array at two leaves to two arrays.
  check_trainable(params)
  params = shard_tree(params, mesh, rules)
  # Moments get the shardings of their parameters, by the same rules.
  make = lambda params: init(params, optimizer)
  shapes = jax.eval_shape(make, params)
  state = initialise(make, params, mesh=mesh, rules=rules)
  # For the metrics: scalars that every device has.
  everywhere = NamedSharding(mesh, PartitionSpec())
  return state, (shardings(shapes, mesh, rules), everywhere)


def step_key(seed: int, step: Any) -> Key[Array, ""]:
  """The random key of one step: `fold_in(key(seed), step)`.

  Args:
    seed: of the run.
    step: number of updates done before this one, an int or an int32 scalar.

  >>> import jax.numpy as jnp
  >>> bool(step_key(0, 3) == step_key(0, jnp.int32(3)))
  True
  """
  return jax.random.fold_in(jax.random.key(seed), step)
