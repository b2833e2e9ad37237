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
from jax.custom_derivatives import SymbolicZero

from attnjax.ops.alike import mapped_alike
from attnjax.ops.attention.call import Aux, Call
from attnjax.ops.attention.reading import Reading
from attnjax.ops.attention.sums import finite, layouts, sums_of, totals
from attnjax.ops.attention.tangent import tangent
from attnjax.ops.grid import Grid
from attnjax.ops.tiles import Sweep, fold
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
