"""The state of a memory, whose size does not grow with the tokens read."""

import dataclasses
import html
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from attnjax.ops.memory.rule import Rule
from attnjax.ops.pytree_dataclass import pytree_dataclass
from attnjax.ops.shard_map_axes import varying_alike, varying_axes
from attnjax.ops.value_checks import known
from attnjax.typing import Array, DTypeLike, Float, Key, PyTree

__all__ = [
  "MemoryState",
  "PendingStep",
  "RecentTokens",
  "compute_dtype",
  "for_compute",
  "init",
  "initial_weights",
]

# `PyTree` and not arrays, because `jax.tree.map` and `jax.vmap` put shapes and
# axis numbers into the fields.
Maps = dict[str, PyTree]


@pytree_dataclass
class PendingStep:
  """Sums over the tokens so far of a chunk that steps at its end."""

  update: Maps  # -Σ θ g
  gates: Maps  # name -> Σ of the gate


@pytree_dataclass
class RecentTokens:
  """The latest tokens that a window still holds, the oldest first."""

  keys: PyTree
  values: PyTree
  gates: Maps  # rate, and threshold where there is one


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class MemoryState:
  """Weights of a memory, and the other state of its update rule.

  Made by `init`, changed by `write` and `stream`, which return a new one.

  Args:
    weights: name -> ``*B H I O``, the accumulator A of each map, of which the
      weights are `rule.retention.link`.
    momentum: name -> S; None where the rule has none.
    start: name -> A at the beginning of the chunk; None where no gradient is
      taken there.
    pending: sums for the step at the end of a chunk; None where each token
      makes a step.
    recent: tokens within the window; None where it is 1.
    gain: ``*B H E``, learned factors of the normalised output beside a
      residual, which no token changes; None is 1.
    position: int32, tokens read, the same in every row.
    rule: the update rule; part of the structure of the pytree.

  >>> from attnjax.ops.memory.rule import Rule
  >>> state = init(Rule(), (5,), heads=2, width=4)
  >>> state.weights["map_0"].shape, int(state.position)
  ((5, 2, 4, 4), 0)
  """

  weights: Maps
  momentum: PyTree
  start: PyTree
  pending: PyTree
  recent: PyTree
  gain: PyTree
  position: PyTree
  rule: Rule = dataclasses.field(metadata={"static": True})

  def replace(self, **changes) -> "MemoryState":
    """A copy with some fields changed."""
    return dataclasses.replace(self, **changes)

  @property
  def lead(self) -> tuple[int, ...]:
    """Sizes of the axes ``*B H``."""
    return jax.tree.leaves(self.weights)[0].shape[:-2]

  @property
  def bytes(self) -> int:
    """Size of all arrays in bytes; it does not grow with the tokens read."""
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(self))

  @property
  def norm(self) -> Float[Array, "*B H"]:
    """Frobenius norm of the accumulator over all maps, to watch in training."""
    squares = [(w * w).sum((-2, -1)) for w in self.weights.values()]
    return jnp.sqrt(sum(squares[1:], squares[0]))

  def _repr_html_(self) -> str:
    """A table for a notebook: each map, its shape, and its largest norms."""
    title = html.escape(f"{self.rule!r}, {self.bytes:,} bytes")
    if known(self.position):
      title += f", {int(self.position)} tokens read"
    rows = ["<tr><th>map<th>shape<th>norm of a head</tr>"]
    for name, weights in self.weights.items():
      norm = "traced"
      if known(weights):
        each = jnp.sqrt(jnp.square(weights).sum((-2, -1)))
        norm = f"{float(each.min()):.4g} to {float(each.max()):.4g}"
      cells = map(html.escape, (name, str(weights.shape), norm))
      rows.append("<tr><td>" + "<td>".join(cells) + "</tr>")
    return f"<div>{title}<table>{''.join(rows)}</table></div>"


def init(
  rule: Rule,
  batch: tuple[int, ...],
  heads: int,
  width: int,
  *,
  value_width: int | None = None,
  weights: Mapping[str, Float[Array, "H I O"]] | None = None,
  gain: Float[Array, "H E"] | None = None,
  dtype: DTypeLike = jnp.float32,
) -> MemoryState:
  """A state before the first token.

  Args:
    rule: the update rule.
    batch: sizes of the batch axes ``*B``.
    heads: H; each has a memory of its own.
    width: D, of keys and queries.
    value_width: E; None is D.
    weights: name -> ``H I O``, the initial accumulator, the same for every row;
      usually learned, see `initial_weights`. None is 0, for a matrix.
    gain: ``H E``, of a structure with a residual: what its normalised output is
      multiplied by, usually learned. None is 1.
    dtype: of all arrays.

  Raises:
    ValueError: if sizes do not fit the rule, a gain is given to a structure
      that has no residual, or weights are left out of a network of several
      maps, where 0 has a gradient of 0.

  >>> from attnjax import memory
  >>> memory.init(memory.linear_attention(), (), heads=1, width=3).bytes
  40
  """
  value_width = width if value_width is None else value_width
  rule.structure.validate(width, value_width)
  shapes = rule.structure.shapes(rule.features.width(width), value_width)

  if weights is None:
    if len(shapes) > 1 and not rule.structure.solves:
      raise ValueError(
        "memory.init: weights of 0 have a gradient of 0 where maps follow one"
        " another, and nothing would ever be learned; give"
        " weights=memory.initial_weights(...)"
      )
    weights = {
      name: jnp.zeros((heads, *s), dtype) for name, s in shapes.items()
    }

  expected = {name: (heads, *s) for name, s in shapes.items()}
  found = {name: tuple(w.shape) for name, w in weights.items()}
  if found != expected:
    raise ValueError(
      f"memory.init: weights must have the shapes {expected}, got {found}"
    )

  if gain is not None:
    if not rule.structure.residual:
      raise ValueError(
        "memory.init: gain multiplies the normalised output beside a residual,"
        f" and {rule.structure!r} has none; leave it out"
      )
    if gain.shape != (heads, value_width):
      raise ValueError(
        f"memory.init: gain must have the shape {(heads, value_width)} of heads"
        f" and values, got {gain.shape}"
      )

  lead = (*batch, heads)
  spread = lambda w: jnp.broadcast_to(w, (*batch, *w.shape)).astype(dtype)
  # In the order of the structure, whatever the order of the mapping.
  weights = _copied({name: spread(weights[name]) for name in shapes})
  # A function, for each field needs buffers of its own to be donated.
  zeros = lambda: jax.tree.map(jnp.zeros_like, weights)

  pending = None
  if rule.updates == "chunk":
    number = lambda: jnp.zeros(lead, dtype)
    sums = {"rate": number(), "momentum": number(), "decay": number()}
    pending = PendingStep(zeros(), sums)

  start = None
  if rule.gradients == "chunk" and pending is None:
    start = _copied(weights)

  recent = None
  if rule.window > 1:
    # An empty window: tokens whose rate is 0 make no update.
    tokens = lambda *s: jnp.zeros((*lead, rule.window - 1, *s), dtype)
    gates = {"rate": tokens()}
    if rule.objective.takes_threshold:
      # Any value would do beside a rate of 0; 1 is valid.
      gates["threshold"] = jnp.ones((*lead, rule.window - 1), dtype)
    recent = RecentTokens(tokens(width), tokens(value_width), gates)

  return MemoryState(
    weights=weights,
    momentum=zeros() if rule.algorithm.has_momentum else None,
    start=start,
    pending=pending,
    recent=recent,
    gain=None if gain is None else jnp.array(spread(gain), copy=True),
    # numpy, so that its value is known under `jit`.
    position=np.zeros((), np.int32),
    rule=rule,
  )


def _copied(maps: Maps) -> Maps:
  """Copies arrays: a donated pytree must not hold one buffer twice."""
  return {name: jnp.array(w, copy=True) for name, w in maps.items()}


def compute_dtype(state: MemoryState, *arrays: Array | None):
  """The dtype to compute in: float32, or the widest dtype given.

  >>> import jax.numpy as jnp
  >>> from attnjax.ops.memory.rule import Rule
  >>> state = init(Rule(), (), 1, 3, dtype=jnp.bfloat16)
  >>> compute_dtype(state, None)
  dtype('float32')
  """
  given = [x.dtype for x in arrays if x is not None]
  dtype = jnp.dtype(jnp.float32)
  for other in (*given, *(x.dtype for x in state.weights.values())):
    if jnp.finfo(other).bits > jnp.finfo(dtype).bits:
      dtype = jnp.dtype(other)
  return dtype


def for_compute(
  state: MemoryState, dtype: DTypeLike, *arrays: Array | None
) -> MemoryState:
  """Casts a state, except its position, to a dtype, as the carry of a loop.

  Inside `jax.shard_map` the carry of a loop must vary over the same mesh axes
  before and after a step, so it is cast to vary as the arrays do.
  """
  given = [x for x in arrays if x is not None]
  axes = varying_axes(*given, *jax.tree.leaves(state))
  cast = jax.tree.map(lambda x: varying_alike(x.astype(dtype), axes), state)
  return cast.replace(position=state.position)


def initial_weights(
  rule: Rule,
  key: Key[Array, ""],
  heads: int,
  width: int,
  *,
  value_width: int | None = None,
  scale: float = 1.0,
) -> dict[str, Float[Array, "H I O"]]:
  """Random initial weights, normal with a variance of scale² / fan-in.

  Args:
    rule: the update rule.
    key: for the draws.
    heads: H.
    width: D.
    value_width: E; None is D.
    scale: standard deviation in units of 1 / sqrt(inputs of a map).

  Returns:
    Name -> ``H I O``; 0 of `ridge`, whose sums begin with nothing.

  >>> import jax
  >>> from attnjax import memory
  >>> rule = memory.titans(depth=2)
  >>> found = memory.initial_weights(rule, jax.random.key(0), 3, 4)
  >>> {name: w.shape for name, w in found.items()}
  {'map_0': (3, 4, 16), 'map_1': (3, 16, 4)}
  """
  value_width = width if value_width is None else value_width
  shapes = rule.structure.shapes(rule.features.width(width), value_width)
  if rule.structure.solves:
    return {name: jnp.zeros((heads, *s)) for name, s in shapes.items()}
  keys = jax.random.split(key, len(shapes))
  return {
    # By the fan-in, so that outputs have the variance of their inputs.
    name: scale * jax.random.normal(k, (heads, i, o)) / i**0.5
    for k, (name, (i, o)) in zip(keys, shapes.items(), strict=True)
  }
