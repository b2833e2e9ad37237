"""Whether the tiles of a kernel's visit may be one program, and so large ones.

The program of a visit has the operations of all its tiles, one after the other.
"""

import jax
import jax.numpy as jnp

from attnjax.ops.attention.arguments import Call
from attnjax.ops.attention.block_sizes import Blocks, padded
from attnjax.ops.attention.fused_blocks import KernelBlocks
from attnjax.ops.attention.live_tiles import live_tiles
from attnjax.ops.attention.tile_operands import bounded
from attnjax.ops.scoring import Scoring
from attnjax.ops.tiles.visits import Visits

__all__ = ["is_light", "kinds_of_visits"]

# Of a score mod. ALiBi has 13; T5's bias has 67, and 16 tiles of it were not
# compiled in 5 minutes.
_FEW_OPERATIONS = 32


def kinds_of_visits(call: Call, blocks: KernelBlocks) -> int | None:
  """How many kinds of visits there are that hide something from a query.

  None where they are many, or known only when the program runs.
  """
  rules = call.rules
  by_arrays = rules.query_segment_ids is not None or call.positioned
  if by_arrays or not (rules.mask is None or rules.mask.is_static):
    return None
  tile = Blocks(1, 1, *blocks.tile, call.group)
  shape = padded(call.shape, Blocks(1, 1, *blocks.visit, call.group))
  sweep = live_tiles(shape, tile, bounded(call, shape), alike=True)
  patterns = Visits.of(sweep, blocks.macro).patterns
  return None if patterns is None else len(patterns)


def is_light(call: Call) -> bool:
  """Whether a tile has few operations beside its two matrix products.

  >>> import jax.numpy as jnp
  >>> from attnjax import score_mods
  >>> from attnjax.ops.attention.arguments import checked_call
  >>> x, table = jnp.ones((4, 1, 8)), jnp.ones((32, 1))
  >>> of = lambda mod: is_light(checked_call(x, x, x, {"score_mod": mod}))
  >>> of(score_mods.softcap(30.0)), of(score_mods.relative_bias(table, False))
  (True, False)
  """
  if type(call.scoring).score is not Scoring.score:
    return False
  mod, one = call.rules.score_mod, (1, 1, 1, 1)
  if mod is None:
    return True
  # What it captures as a device has it: whole, however types divide it.
  captured, tree = jax.tree.flatten(mod)
  of = lambda x: jax.ShapeDtypeStruct(jnp.shape(x), jnp.result_type(x))
  numbers = [jax.ShapeDtypeStruct(one, jnp.int32)] * 4
  logit = jax.ShapeDtypeStruct(one, jnp.float32)
  program = jax.make_jaxpr(
    lambda captured, *at: jax.tree.unflatten(tree, captured)(*at)
  )(list(map(of, captured)), logit, *numbers)
  return _operations(program.jaxpr) <= _FEW_OPERATIONS


def _operations(jaxpr) -> int:
  """The operations of a program, those of its inner programs included."""
  count = 0
  for line in jaxpr.eqns:
    inner = [
      getattr(x, "jaxpr", x)
      for x in jax.tree.leaves(list(line.params.values()))
      if hasattr(x, "eqns")
    ]
    count += sum(map(_operations, inner)) if inner else 1
  return count
