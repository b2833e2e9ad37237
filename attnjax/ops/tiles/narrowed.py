"""Which operands of a kernel are rounded before they come to it."""

import jax.extend.core as jex
import jax.numpy as jnp

__all__ = ["narrowed_operands"]


def narrowed_operands(operands, programs: dict, narrow: bool) -> list[bool]:
  """Which float32 operands are only factors of products of default precision.

  Rounded before they come to the kernel they take half of its memory.
  """
  return [
    narrow
    and len(array.inner) == 2
    and array.dtype == jnp.float32
    and all(_is_only_factor(p.jaxpr, 4 + k) for p in programs.values())
    for k, array in enumerate(operands)
  ]


def _is_only_factor(jaxpr, place: int) -> bool:
  """Whether an argument is a factor of such products, and nothing else."""
  same, found = {jaxpr.invars[place]}, False
  is_same = lambda v: not isinstance(v, jex.Literal) and v in same
  for line in jaxpr.eqns:
    if not any(map(is_same, line.invars)):
      continue
    name = line.primitive.name
    if name in ("reshape", "squeeze", "broadcast_in_dim", "transpose"):
      same.add(line.outvars[0])
    elif name == "dot_general" and "HIGH" not in str(line.params["precision"]):
      found = True
    else:
      return False
  return found and not any(map(is_same, jaxpr.outvars))
