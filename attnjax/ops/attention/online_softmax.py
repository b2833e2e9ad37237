"""Online softmax: one pass over the tiles of a call, and its JVP.

A tile adds to the sums of its rows, each relative to a shift c of the row:

    number = Σ_s exp(logit - c) value,   total = Σ_s exp(logit - c)

The forward pass lets c be the largest logit so far, and divides at the end. The
JVP takes c = the log-sum-exp, where total is 1 and number the output itself, so
that it needs the inputs, the output and the log-sum-exp, and nothing of a tile.
That is kept in two parts, the largest logit and the log of the total: of a row
at -1e9, where the ulp of float32 is 64, their sum has forgotten how many keys
there were.

    d out = d number - (d total) out,   d logsumexp = d total,

with d number and d total sums over tiles too: see `attnjax.ops.tiles`.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero, zero_from_primal

from attnjax.ops.attention.arguments import Aux, Call
from attnjax.ops.attention.tile_operands import CallOperands, TileOperands
from attnjax.ops.grid import Grid
from attnjax.ops.tiles import (
  Filled,
  Subscripts,
  Sweep,
  fold,
  tile_sum_tangent,
)
from attnjax.ops.vmap_consistent import vmap_consistent
from attnjax.typing import Array, Float, Int

__all__ = ["as_called", "finished", "online_softmax"]


# The codes are an argument of their own, as all that may be traced: JAX keeps
# a function and its rule for longer than the trace that they are made in.
@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def online_softmax(
  sweep: Sweep, codes: Int[Array, "..."], operands: CallOperands
) -> dict[str, Array]:
  """Output ``B H T E`` and the aux of a call, by name, in one pass over tiles.

  Args:
    sweep: the tiles to visit, without their codes.
    codes: EMPTY, MIXED or FULL of each.
    operands: of the call.

  Returns:
    "out" and what the call asks for; "logsumexp" wherever the keys of a row
    share its weight, and its parts "shift" and "rest".
  """
  start = _nothing_seen(operands)
  names, tree = tuple(start), operands.tile_structure()

  def step(full, tile, parts, held):
    part = jax.tree.unflatten(tree, parts)
    state = dict(zip(names, held, strict=True))
    grid = part.grid(tile)
    logits = part.logits(grid, full)

    if "top" not in state:  # each key has a weight of its own
      sums = _sums_of_tile(part, grid, names, logits)
      return [state[name] + sums[name] for name in names]

    # The largest logit so far is the shift of a row: no exp overflows.
    largest = jnp.max(logits, axis=-1)
    top = jnp.maximum(state["top"], largest)
    shift = _finite(top)
    shifted = exps = None
    if "total" in state:
      shifted = logits - shift[..., None]
      exps = jnp.exp(shifted)

    sums = _sums_of_tile(part, grid, names, logits, shifted, exps)
    new = _merged(part, state, sums, shift) | {"top": top}
    if "place" in state:
      new["place"] = _place_of_largest(state, logits, largest, grid)
    return [new[name] for name in names]

  last = fold(
    step,
    sweep._replace(codes=codes),
    jax.tree.leaves(operands),
    operands.subscripts(),
    list(start.values()),
    _subscripts(names),
  )
  result = _divided(operands, dict(zip(names, last, strict=True)))
  return vmap_consistent(result, jax.tree.leaves(operands))


@functools.partial(online_softmax.defjvp, symbolic_zeros=True)
def _online_softmax_jvp(sweep: Sweep, primals, tangents):
  """JVP of the pass: sums over tiles of tangents at the log-sum-exp."""
  codes, operands = primals
  moving = {
    k: x
    for k, x in enumerate(jax.tree.leaves(tangents[1], is_leaf=_is_zero))
    if not _is_zero(x)
  }
  result = online_softmax(sweep, codes, operands)
  names = _sums_of_jvp(operands)

  # The log-sum-exp is the shift, of two parts, of which the rest moves with it
  # in derivatives of second order; the place of the largest logit does not.
  extra = {n: result[n] for n in ("shift", "rest", "place") if n in result}
  arrays = jax.tree.leaves(operands)
  function = _tile_function(
    operands.tile_structure(), len(arrays), tuple(extra), names
  )

  shape, dtype = result["out"].shape, operands.settings.dtype
  moved = tile_sum_tangent(
    function,
    sweep._replace(codes=codes),
    [*arrays, *extra.values()],
    moving,
    [*operands.subscripts(), *["bht"] * len(extra)],
    [
      jax.ShapeDtypeStruct(shape if n == "number" else shape[:-1], dtype)
      for n in names
    ],
    _subscripts(names),
  )
  sums = dict(zip(names, moved, strict=True))
  return result, _result_tangent(operands, result, sums)


def _is_zero(x) -> bool:
  """Whether a tangent is known to be 0."""
  return isinstance(x, SymbolicZero)


def _tile_function(tree, count: int, extra: tuple[str, ...], names: list[str]):
  """The sums of a tile at the log-sum-exp, a function of its arrays alone.

  It closes over no array, for it is a parameter of a primitive.
  """

  def function(full, tile, *parts):
    part = jax.tree.unflatten(tree, parts[:count])
    rows = dict(zip(extra, parts[count:], strict=True))
    grid = part.grid(tile)
    logits = part.logits(grid, full)

    shifted = exps = None
    if "total" in names:
      # One after the other: the sum of a large shift and a small rest would
      # have lost the rest.
      shifted = logits - rows["shift"][..., None]
      shifted = shifted - rows["rest"][..., None]
      exps = jnp.exp(shifted)

    sums = _sums_of_tile(part, grid, names, logits, shifted, exps)
    if "peak" in names:
      at = grid.key_index == rows["place"][..., None]
      sums["peak"] = jnp.where(at, logits, 0).sum(-1)
    return [sums[name] for name in names]

  return function


def _sums_of_tile(
  part: TileOperands, grid: Grid, names, logits, shifted=None, exps=None
) -> dict[str, Array]:
  """What a tile adds to the sums of its rows: number, total and spread.

  Args:
    part: of the tile.
    grid: of the tile.
    names: of the sums that are needed.
    logits: ``B H T S``.
    shifted: logits less the shift of their row, where "total" is needed.
    exps: exp of these.
  """
  own = None if part.normalizer.shares else part.normalizer.weigh(logits)
  weights = exps if own is None else own

  sums = {"number": part.weighted_values(weights, grid)}
  if "total" in names:
    sums["total"] = exps.sum(-1)
  if "spread" in names:
    # Σ w log w of what has a weight; 0 log 0 is 0, in value and gradient.
    held = weights > 0
    log = shifted if own is None else -jnp.log(jnp.where(held, weights, 1))
    sums["spread"] = (weights * jnp.where(held, log, 0)).sum(-1)
  return sums


def _nothing_seen(operands: CallOperands) -> dict[str, Filled]:
  """The sums of rows that have seen nothing yet, those that are needed."""
  batch, heads, length, _ = operands.settings.shape
  aux, dtype = operands.settings.aux, operands.settings.dtype
  row = lambda x, dtype=dtype: Filled((batch, heads, length), dtype, x)
  values = (batch, heads, length, operands.value.shape[-1])

  start = {"number": Filled(values, dtype, 0)}
  if _needs_total(operands) or "max_logit" in aux:
    start["top"] = row(-jnp.inf)
  if _needs_total(operands):
    start["total"] = row(0)
  if "entropy" in aux:
    start["spread"] = row(0)
  if "max_logit" in aux:
    start["place"] = row(-1, jnp.int32)
  return start


def _merged(
  part: TileOperands, state: dict, sums: dict, shift: Array
) -> dict[str, Array]:
  """The sums of a row and those of one more tile, at their common shift."""
  decay = jnp.exp(state["top"] - shift)
  shares = part.normalizer.shares
  if shares and "spread" in state:
    # Σ e (logit - c) of a row whose shift moves by d loses d Σ e.
    moved = (_finite(state["top"]) - shift) * state["total"]
    state = state | {"spread": state["spread"] + moved}

  new = {}
  for name, more in sums.items():
    old = state[name]
    if shares or name == "total":  # what has exps in it
      old = old * (decay[..., None] if name == "number" else decay)
    new[name] = old + more
  return new


def _place_of_largest(state: dict, logits, largest, grid: Grid) -> Array:
  """The key index of the largest logit of each row so far."""
  # Of equal logits the first counts, in a tile and of tiles, in whichever order
  # they are visited.
  found = logits == largest[..., None]
  last = jnp.iinfo(jnp.int32).max
  place = jnp.min(jnp.where(found, grid.key_index, last), axis=-1)
  before = (largest == state["top"]) & (place < state["place"])
  found = (largest > state["top"]) | before
  return jnp.where(found, place, state["place"])


def _divided(operands: CallOperands, state: dict) -> dict[str, Array]:
  """The result of the pass: softmax divides its sums by the total here."""
  shares = operands.normalizer.shares
  result = {"out": state["number"]}

  if "total" in state:
    # Of a row that sees nothing, and only of it, the total is exactly 0.
    shift, total = _finite(state["top"]), state["total"]
    seen = ~(total == 0)
    safe = jnp.where(seen, total, 1)
    result["shift"], result["rest"] = shift, jnp.log(safe)
    result["logsumexp"] = jnp.where(seen, result["rest"] + shift, -jnp.inf)
  if shares:
    result["out"] = state["number"] / safe[..., None]

  if "spread" in state:
    spread = state["spread"]
    if shares:
      spread = jnp.where(seen, result["rest"] - spread / safe, 0)
    result["entropy"] = spread
  if "place" in state:
    result["max_logit"], result["place"] = state["top"], state["place"]
  return result


def _sums_of_jvp(operands: CallOperands) -> list[str]:
  """The sums whose tangents make the tangent of the result."""
  aux = operands.settings.aux
  needed = {
    "number": True,
    "total": _needs_total(operands),
    "spread": "entropy" in aux,
    "peak": "max_logit" in aux,  # the largest logit, by its place
  }
  return [name for name, is_needed in needed.items() if is_needed]


def _result_tangent(operands: CallOperands, result: dict, sums: dict) -> dict:
  """The tangent of the result, from those of the sums at the log-sum-exp."""
  shares = operands.normalizer.shares
  moved = {"out": sums["number"]}

  if "total" in sums:
    moved["logsumexp"] = moved["rest"] = sums["total"]
    moved["shift"] = zero_from_primal(result["shift"], symbolic_zeros=True)
  if shares:
    moved["out"] = sums["number"] - sums["total"][..., None] * result["out"]

  if "spread" in sums:
    moved["entropy"] = sums["spread"]
    if shares:
      held = sums["total"] * (1 - result["entropy"])
      moved["entropy"] = held - sums["spread"]
  if "peak" in sums:
    moved["max_logit"] = sums["peak"]
    moved["place"] = zero_from_primal(result["place"], symbolic_zeros=True)
  return moved


def _needs_total(operands: CallOperands) -> bool:
  """Whether the total weight of a row is needed."""
  return operands.normalizer.shares or "logsumexp" in operands.settings.aux


def _subscripts(names) -> list[Subscripts]:
  """The subscripts of sums by name."""
  return ["bht." if name == "number" else "bht" for name in names]


def _finite(x):
  """A shift: that of a row that has seen nothing is 0."""
  return jnp.where(jnp.isfinite(x), x, 0)


def finished(
  call: Call, found: dict[str, Array]
) -> tuple[Float[Array, "B H T E"], Aux]:
  """The output times what the normalizer leaves a row, and the aux."""
  out, entropy = found["out"], found.get("entropy")

  factor = None
  if call.normalizer.shares:
    factor = call.normalizer.factor(found["logsumexp"])
  if factor is not None:
    out = out * factor[..., None]
    if entropy is not None:
      # -Σ c w log(c w) = c (entropy - log c), and 0 where c is.
      log = jnp.log(jnp.where(factor > 0, factor, 1))
      entropy = factor * (entropy - log)

  known = found | {"entropy": entropy}
  return out, Aux(**{name: known[name] for name in call.aux})


def as_called(call: Call, out, aux: Aux) -> tuple[Float[Array, "B T H E"], Aux]:
  """(out, aux) without padding, the output with heads after tokens again."""
  cut = lambda x: lax.slice_in_dim(x, 0, call.shape[2], axis=2)
  out = jnp.moveaxis(cut(out), 1, 2).astype(call.value.dtype)
  return out, jax.tree.map(cut, aux)
