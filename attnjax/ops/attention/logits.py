"""What becomes of a score: the one order in which the rules of a call apply."""

from typing import NamedTuple

import jax
import jax.extend.core
import jax.numpy as jnp
import numpy as np

from attnjax.ops.grid import Grid, row, unfolded
from attnjax.ops.masks import Mask
from attnjax.ops.masks.arrays import is_open
from attnjax.ops.score_mods import ScoreMod
from attnjax.typing import Array, Bool, Float, Int

__all__ = ["Rules", "logits", "seen_by"]


class Rules(NamedTuple):
  """What a call says of its logits; None says nothing.

  A key must pass the mask, and be of the query's segment. Boolean arrays in the
  mask are ``#B #H #T #S``.
  """

  mask: Mask | None = None
  bias: Float[Array, "#B #H #T #S"] | None = None
  score_mod: ScoreMod | None = None
  query_segment_ids: Int[Array | np.ndarray, "#B T"] | None = None
  key_segment_ids: Int[Array | np.ndarray, "#B S"] | None = None


def logits(
  scores: Float[Array, "B H T S"],
  rules: Rules,
  grid: Grid,
  seen: Bool[Array, "..."] | None,
) -> Float[Array, "B H T S"]:
  """The score, then score_mod, then + bias, then -inf for what is not seen."""
  if rules.score_mod is not None:
    scores = modified(rules.score_mod, scores, seen, grid)
  if rules.bias is not None:
    scores = scores + rules.bias.astype(scores.dtype)
  if seen is None:
    return scores
  scores, lost = jnp.where(seen, scores, -jnp.inf), _lost(rules, grid)
  return scores if lost is None else jnp.where(lost, jnp.nan, scores)


def seen_by(rules: Rules, grid: Grid) -> Bool[Array, "..."] | None:
  """Which keys each query may see by all the rules; None is every key."""
  seen = None if rules.mask is None else rules.mask.visible(grid)
  same = _same_segment(rules)
  if same is None or seen is None:
    return seen if same is None else same
  return seen & same


def _lost(rules: Rules, grid: Grid) -> Bool[Array, "..."] | None:
  """Which pairs have no answer: outside of a table, and hidden by nothing."""
  if rules.mask is None or not is_open(rules.mask):
    return None
  some, every = rules.mask.between(grid)
  lost, same = some & (every ^ True), _same_segment(rules)
  return lost if same is None else lost & same


def _same_segment(rules: Rules) -> Bool[Array, "..."] | None:
  """Which query and key are of one segment; None without segments."""
  if rules.query_segment_ids is None or rules.key_segment_ids is None:
    return None
  queries = row(jnp.asarray(rules.query_segment_ids), 4, query=True)
  keys = row(jnp.asarray(rules.key_segment_ids), 4, query=False)
  return queries == keys


# Operations that are finite, and whose derivatives are, of what is finite.
_FINITE = """
  abs add add_any and argmax argmin broadcast_in_dim ceil clamp concatenate
  convert_element_type copy copy_p cos cummax cummin cumsum dot_general
  dynamic_slice eq erf expand_dims floor gather ge gt iota is_finite le
  logistic lt max min mul ne neg not or pad population_count pvary reduce_and
  reduce_max reduce_min reduce_or reduce_sum reshape rev round select_n
  shift_left shift_right_arithmetic shift_right_logical sign sin slice sort
  split square squeeze stop_gradient sub tanh transpose xor zeros_like
"""
# Where an operation is a program itself. The rule of a custom one is followed
# as any other, for what is followed is a tangent.
_CALLS = dict.fromkeys(("checkpoint", "closed_call", "jit", "pjit"), "jaxpr")
_CALLS["custom_jvp_call"] = "call_jaxpr"


def modified(
  mod: ScoreMod,
  scores: Float[Array, "B H T S"],
  seen: Bool[Array, "..."] | None,
  grid: Grid,
) -> Float[Array, "B H T S"]:
  """Logits after a score mod; those of hidden keys are of no consequence.

  >>> import jax.numpy as jnp
  >>> from attnjax.ops.grid import Grid
  >>> from attnjax import score_mods
  >>> grid = Grid.of((1,), 1, 2, 3)
  >>> shapes = lambda s, b, h, q, k: s + q.shape[-1] + 10 * k.shape[-2]
  >>> mod = score_mods.from_fn(shapes)
  >>> modified(mod, jnp.zeros((1, 1, 2, 3)), None, grid)[0, 0, 0].tolist()
  [11.0, 11.0, 11.0]
  """
  at = (grid.batch, grid.head, grid.query_position)
  everywhere = unfolded(grid.key_position)
  if seen is None:
    return _as_logits(mod(scores, *at, everywhere), scores)

  scores = jnp.where(seen, scores, 0)
  if _defined_everywhere(mod, scores, *at, everywhere):
    return _as_logits(mod(scores, *at, everywhere), scores)

  key = jnp.where(seen, grid.key_position, grid.query_position)
  return _by_query(mod, scores, *at, unfolded(key))


def _by_query(mod: ScoreMod, scores, b, h, q, k):
  """Logits of each query by itself, a T of 1: its keys may be others' not."""

  def one(scores, h, q, k):
    return _as_logits(mod(scores, b, h, q, k), scores)

  apart = [x[:, :, :, None] for x in (scores, h, q, k)]
  # Queries may have a head each, and be those of several.
  axes = [2, 2 if h.shape[2] != 1 else None, 2, 2]
  if axes[1] is None:
    apart[1] = h
  found = jax.vmap(one, in_axes=axes, out_axes=2)(*apart)
  return found[:, :, :, 0]


def _as_logits(found, scores):
  """What a mod returned, as logits: it may depend on positions alone."""
  found = jnp.asarray(found)
  if not jnp.issubdtype(found.dtype, jnp.floating):
    raise ValueError(
      f"score_mod: expected logits, which are floating, got {found.dtype};"
      " what hides keys is a mask: mask=masks.from_fn(...)"
    )
  try:
    return jnp.broadcast_to(found.astype(scores.dtype), scores.shape)
  except ValueError:
    raise ValueError(
      f"score_mod: expected logits that broadcast to those it was given, of"
      f" shape {scores.shape}, got {found.shape}; the arguments broadcast so"
    ) from None


def _defined_everywhere(mod: ScoreMod, scores, b, h, q, k) -> bool:
  """Whether a mod and its tangent are finite whatever the key's position is.

  Decided on the program of its tangent, not on numbers: each operation that
  depends on the position of the key must be one that is finite.
  """
  leaves, tree = jax.tree.flatten((mod, scores, b, h, q))
  shape = lambda x: jax.ShapeDtypeStruct(jnp.shape(x), jnp.result_type(x))
  leaves = list(map(shape, leaves))
  moves = [jnp.issubdtype(x.dtype, jnp.inexact) for x in leaves]

  def tangent(key, *leaves):
    def of(*moving):
      given = iter(moving)
      every = [
        next(given) if m else x for m, x in zip(moves, leaves, strict=True)
      ]
      mod, *rest = jax.tree.unflatten(tree, every)
      return mod(*rest, key)

    moving = [x for m, x in zip(moves, leaves, strict=True) if m]
    return jax.jvp(of, moving, moving)

  program = jax.make_jaxpr(tangent)(shape(k), *leaves).jaxpr
  return _follow(program, [True, *(False for _ in leaves)]) is not None


def _follow(program, marked: list[bool]) -> list[bool] | None:
  """Which results depend on the marked inputs; None if one may be undefined."""
  dependent = {
    x for x, mark in zip(program.invars, marked, strict=True) if mark
  }
  depends = lambda x: (
    not isinstance(x, jax.extend.core.Literal) and x in dependent
  )

  for line in program.eqns:
    marks = list(map(depends, line.invars))
    if not any(marks):
      continue

    if line.primitive.name in _CALLS:
      inner = line.params[_CALLS[line.primitive.name]]
      found = _follow(getattr(inner, "jaxpr", inner), marks)
    else:
      found = [True] * len(line.outvars) if _is_finite(line, marks) else None
    if found is None:
      return None

    outs = zip(line.outvars, found, strict=True)
    dependent.update(x for x, mark in outs if mark)
  return list(map(depends, program.outvars))


def _is_finite(line, marks: list[bool]) -> bool:
  """Whether an operation is finite of finite values at the marks."""
  name, of = line.primitive.name, line.invars[0].aval.dtype
  if name in ("div", "rem"):  # by what is the same for all keys, or of integers
    return not marks[1] or jnp.issubdtype(of, jnp.integer)
  if name == "integer_pow":
    return line.params["y"] >= 0
  return name in _FINITE.split()
