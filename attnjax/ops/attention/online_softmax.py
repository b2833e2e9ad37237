"""The fold over tiles that reads the values, and its tangent.

A tile adds to the sums of its rows, each relative to a shift c of the row:

    number = Σ_s exp(logit - c) value,   total = Σ_s exp(logit - c)

The forward pass lets c be the largest logit so far. The tangent takes c = the
log-sum-exp, where total is 1 and number the output itself, so that it needs the
inputs, the output and the log-sum-exp, and nothing of a tile. It is kept in two
parts, the largest logit and the log of the total: of a row at -1e9, where the
ulp of float32 is 64, their sum has forgotten how many keys there were.

    d out = d number - (d total) out,   d logsumexp = d total,

with d number and d total sums over tiles too: see `attnjax.ops.tiles`.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero, zero_from_primal

from attnjax.ops.alike import mapped_alike
from attnjax.ops.attention.arguments import Aux, Call
from attnjax.ops.attention.tile_operands import Reading
from attnjax.ops.grid import Grid
from attnjax.ops.tiles import Sweep, fold, tile_sum_tangent
from attnjax.typing import Array

__all__ = ["finished", "folded"]


def folded(reading: Reading, sweep: Sweep) -> dict:
  """Output ``B H T E`` and the aux of a call, by name.

  "logsumexp" is there wherever the keys of a row share its weight, and so are
  its parts, "shift" and "rest".
  """
  operands, tree = jax.tree.flatten(reading)
  # Given and not closed over, as all that may be traced: JAX keeps the function
  # and its rule for longer than the trace that they are made in.
  blank = sweep._replace(codes=np.zeros(0, np.int32))

  @jax.custom_jvp
  def found(codes, *operands):
    here = jax.tree.unflatten(tree, operands)
    result = _forward(here, blank._replace(codes=codes))
    return mapped_alike(result, operands)

  def rule(primals, tangents):
    codes, *operands = primals
    moving = {
      k: x
      for k, x in enumerate(tangents[1:])
      if not isinstance(x, SymbolicZero)
    }
    result = found(codes, *operands)
    here = jax.tree.unflatten(tree, operands)
    walk = blank._replace(codes=codes)
    return result, tangent(here, walk, result, moving)

  found.defjvp(rule, symbolic_zeros=True)
  return found(sweep.codes, *operands)


def _forward(reading: Reading, sweep: Sweep) -> dict:
  """Folds the tiles, each row shifted by its largest logit so far."""
  start = _start(reading)
  names = tuple(start)
  operands, tree = jax.tree.flatten(reading)

  def step(full, tile, parts, held):
    state = dict(zip(names, held, strict=True))
    part = jax.tree.unflatten(tree, parts)
    grid = part.grid(tile)
    new = _merged(part, state, part.logits(grid, full), grid)
    return [new[name] for name in names]

  last = fold(
    step,
    sweep,
    operands,
    jax.tree.leaves(reading.layouts()),
    list(start.values()),
    layouts(names),
  )
  return _finished(reading, dict(zip(names, last, strict=True)))


def _start(reading: Reading) -> dict:
  """Of rows that have seen nothing yet, the sums that will be needed."""
  batch, heads, length, _ = reading.form.shape
  aux, dtype = reading.form.aux, reading.form.dtype
  row = lambda x, dtype=dtype: jnp.full((batch, heads, length), x, dtype)
  values = (batch, heads, length, reading.value.shape[-1])
  start = {"number": jnp.zeros(values, dtype)}
  if totals(reading) or "max_logit" in aux:
    start["top"] = row(-jnp.inf)
  if totals(reading):
    start["total"] = row(0)
  if "entropy" in aux:
    start["spread"] = row(0)
  if "max_logit" in aux:
    start["place"] = row(-1, jnp.int32)
  return start


def _merged(part: Reading, state: dict, logits, grid: Grid) -> dict:
  """A row's sums and those of one more tile, at their common shift."""
  new, shift = dict(state), None
  if "top" in state:
    largest = jnp.max(logits, axis=-1)
    new["top"] = jnp.maximum(state["top"], largest)
    shift = finite(new["top"])
  if "place" in state:
    first = jnp.argmax(logits, axis=-1)
    place = grid.key_index.reshape(-1)[first]
    # Of equal logits the first counts, whichever tile is visited first.
    before = (largest == state["top"]) & (place < state["place"])
    found = (largest > state["top"]) | before
    new["place"] = jnp.where(found, place, state["place"])
  sums = sums_of(part, logits, (shift,), grid, tuple(state))
  decay = None if shift is None else jnp.exp(state["top"] - shift)
  if part.shares and "spread" in state:
    # Σ e (logit - c) of a row whose shift moves by d loses d Σ e.
    moved = (finite(state["top"]) - shift) * state["total"]
    state = state | {"spread": state["spread"] + moved}
  for name, more in sums.items():
    old = state[name]
    if decay is not None and (part.shares or name == "total"):
      old = old * (decay[..., None] if name == "number" else decay)
    new[name] = old + more
  return new


def _finished(reading: Reading, state: dict) -> dict:
  """From sums at the largest logit to what was asked for."""
  result = {"out": state["number"]}
  if "top" in state:
    shift = finite(state["top"])
  if "total" in state:
    # Of a row that sees nothing, and only of it, the total is exactly 0.
    total = state["total"]
    seen = ~(total == 0)
    safe = jnp.where(seen, total, 1)
    result["shift"], result["rest"] = shift, jnp.log(safe)
    result["logsumexp"] = jnp.where(seen, result["rest"] + shift, -jnp.inf)
  if reading.shares:
    result["out"] = state["number"] / safe[..., None]
  if "spread" in state:
    spread = state["spread"]
    if reading.shares:
      spread = jnp.where(seen, result["rest"] - spread / safe, 0)
    result["entropy"] = spread
  if "place" in state:
    result["max_logit"] = state["top"]
    result["place"] = state["place"]
  return result


def finished(call: Call, found: dict) -> tuple[Array, Aux]:
  """What is left of the row's weight by its normalizer, and the aux."""
  out, entropy = found["out"], found.get("entropy")
  if call.normalizer.weigh(jnp.zeros(())) is None:  # a row shares its weight
    factor = call.normalizer.factor(found["logsumexp"])
    if factor is not None:
      out = out * factor[..., None]
      if entropy is not None:
        # -Σ c w log(c w) = c (entropy - log c), and 0 where c is.
        log = jnp.log(jnp.where(factor > 0, factor, 1))
        entropy = factor * (entropy - log)
  known = found | {"entropy": entropy}
  return out, Aux(**{name: known[name] for name in call.aux})


def totals(reading: Reading) -> bool:
  """Whether the total weight of a row is needed."""
  return reading.shares or "logsumexp" in reading.form.aux


def layouts(names) -> list[str]:
  """The layouts of sums by name."""
  return ["b.t." if name == "number" else "b.t" for name in names]


def sums_of(part: Reading, logits, shifts, grid: Grid, names) -> dict:
  """What a tile adds to the sums of these names, at the shifts of its rows.

  Shifts are subtracted one after the other: the sum of a large and a small one
  would have lost the small one.
  """
  sums = {}
  alone = part.normalizer.weigh(logits)
  if "total" in names:
    shifted = logits
    for shift in shifts:
      shifted = shifted - shift[..., None]
    shared = jnp.exp(shifted)
    sums["total"] = shared.sum(-1)
  weights = shared if alone is None else alone
  sums["number"] = part.read(weights, grid)
  if "spread" in names:
    # Σ w log w of what has a weight; 0 log 0 is 0, in value and gradient.
    held = weights > 0
    log = shifted if alone is None else -jnp.log(jnp.where(held, weights, 1))
    sums["spread"] = (weights * jnp.where(held, log, 0)).sum(-1)
  return sums


def finite(x):
  """A shift: that of a row that has seen nothing is 0."""
  return jnp.where(jnp.isfinite(x), x, 0)


def tangent(reading: Reading, sweep: Sweep, result: dict, moving: dict) -> dict:
  """The tangent of the result, from the tangents of some of the operands."""
  operands, tree = jax.tree.flatten(reading)
  names = _needed(reading)
  # The log-sum-exp is the shift, of two parts, of which the rest moves with it
  # in derivatives of second order; the place of the largest logit does not.
  extra = {n: result[n] for n in ("shift", "rest", "place") if n in result}
  function = _sums_of_tile(tree, len(operands), tuple(extra), names)
  shape = result["out"].shape
  dtype = reading.form.dtype
  moved = tile_sum_tangent(
    function,
    sweep,
    [*operands, *extra.values()],
    moving,
    [*jax.tree.leaves(reading.layouts()), *["b.t"] * len(extra)],
    [
      jax.ShapeDtypeStruct(shape if n == "number" else shape[:-1], dtype)
      for n in names
    ],
    layouts(names),
  )
  return _moved(reading, result, dict(zip(names, moved, strict=True)))


def _sums_of_tile(tree, count: int, extra: tuple[str, ...], names):
  """The function of a tile; it closes over no array, for it is a parameter."""

  def function(full, tile, *parts):
    part, rest = jax.tree.unflatten(tree, parts[:count]), list(parts[count:])
    grid = part.grid(tile)
    logits = part.logits(grid, full)
    shifts = [rest.pop(0) for n in ("shift", "rest") if n in extra]
    sums = sums_of(part, logits, shifts, grid, names)
    if rest:
      at = grid.key_index == rest[0][..., None]
      sums["peak"] = jnp.where(at, logits, 0).sum(-1)
    return [sums[name] for name in names]

  return function


def _needed(reading: Reading) -> list[str]:
  """The sums whose tangents make the tangent of the result."""
  asked = ["number"]
  if totals(reading):
    asked.append("total")
  if "entropy" in reading.form.aux:
    asked.append("spread")
  if "max_logit" in reading.form.aux:
    asked.append("peak")
  return asked


def _moved(reading: Reading, result: dict, sums: dict) -> dict:
  """From tangents of the sums at the log-sum-exp to those of the result."""
  moved = {"out": sums["number"]}
  if "total" in sums:
    moved["logsumexp"] = moved["rest"] = sums["total"]
    moved["shift"] = zero_from_primal(result["shift"], symbolic_zeros=True)
  if reading.shares:
    moved["out"] = sums["number"] - sums["total"][..., None] * result["out"]
  if "spread" in sums:
    moved["entropy"] = sums["spread"]
    if reading.shares:
      held = sums["total"] * (1 - result["entropy"])
      moved["entropy"] = held - sums["spread"]
  if "peak" in sums:
    moved["max_logit"] = sums["peak"]
    moved["place"] = zero_from_primal(result["place"], symbolic_zeros=True)
  return moved
