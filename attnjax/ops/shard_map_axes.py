"""The mesh axes over which a value inside `jax.shard_map` varies."""

import jax

__all__ = ["varying_alike", "varying_axes", "varying_struct"]


def varying_axes(*arrays) -> frozenset[str]:
  """The manual mesh axes over which any of these values varies.

  >>> varying_axes(1.0)
  frozenset()
  """
  axes: frozenset[str] = frozenset()
  for x in arrays:
    manual = getattr(jax.typeof(x), "manual_axis_type", None)  # none of Refs
    axes |= frozenset(getattr(manual, "varying", ()))
  return axes


def varying_alike(x, axes: frozenset[str]):
  """Casts a value to one that varies over all these axes (`jax.lax.pcast`).

  A loop carry that starts as a constant needs it: `scan` asks for equal types
  of the carry going in and coming out.

  >>> varying_alike(1.0, frozenset())
  1.0
  """
  missing = tuple(sorted(axes - varying_axes(x)))
  return jax.lax.pcast(x, missing, to="varying") if missing else x


def varying_struct(
  shape: tuple[int, ...], dtype, axes: frozenset[str]
) -> jax.ShapeDtypeStruct:
  """The shape and dtype of a value that varies over these mesh axes.

  >>> varying_struct((2,), "float32", frozenset()).shape
  (2,)
  """
  kind = jax.sharding.ManualAxisType(varying=axes)
  return jax.ShapeDtypeStruct(shape, dtype, manual_axis_type=kind)
