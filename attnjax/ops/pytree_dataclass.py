"""Frozen dataclasses that are pytrees, with static fields."""

import dataclasses
import typing

import jax

__all__ = ["pytree_dataclass", "static"]


def static(default=dataclasses.MISSING):
  """A field that is part of the structure of a pytree, not a leaf.

  >>> static().metadata["static"]
  True
  """
  return dataclasses.field(default=default, metadata={"static": True})


@typing.dataclass_transform(
  frozen_default=True, eq_default=False, field_specifiers=(static,)
)
def pytree_dataclass(cls):
  """Makes a class a frozen dataclass and a pytree, `static` fields aside.

  >>> import jax
  >>> @pytree_dataclass
  ... class Line:
  ...   slope: float
  ...   name: str = static()
  >>> jax.tree.leaves(Line(2.0, "steep"))
  [2.0]
  """
  cls = dataclasses.dataclass(frozen=True, eq=False)(cls)
  fields = dataclasses.fields(cls)
  meta = [f.name for f in fields if f.metadata.get("static")]
  data = [f.name for f in fields if not f.metadata.get("static")]
  return jax.tree_util.register_dataclass(cls, data, meta)


node = pytree_dataclass  # its old name, which its old path asks for
