"""The state of a memory: a value of a constant size."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from attnjax.ops.memory.rule import Rule
from attnjax.ops.node import node
from attnjax.typing import Array, DTypeLike, Float, Key

__all__ = ["MemoryState", "init", "initial_weights"]

Maps = dict[str, Any]


@node
class Pending:
  """What a chunk that has not ended will be stepped along: sums so far."""

  update: Maps  # -Σ θ g
  gates: Maps  # name -> Σ of the gate


@node
class Recent:
  """The latest tokens that a window still looks at, the oldest first."""

  keys: Any
  values: Any
  gates: Maps  # rate, and threshold where there is one


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class MemoryState:
  """What a memory knows, and how far it has read.

  Made by `init`, changed by `write` and `stream`, which return a new one.

  Args:
    weights: name -> ``*B H I O``, the accumulator A of each map, of which the
      weights are `rule.retention.link`.
    momentum: name -> S; None where the rule has none.
    start: name -> A as it was when the chunk began; None where no gradient is
      taken there.
    pending: what the end of the chunk will do; None where tokens step.
    recent: tokens within the window; None where it is 1.
    position: int32, tokens read, the same in every row.
    rule: what the memory is; part of the structure of the pytree.

  >>> from attnjax.ops.memory.rule import Rule
  >>> state = init(Rule(), (5,), heads=2, width=4)
  >>> state.weights["map_0"].shape, int(state.position)
  ((5, 2, 4, 4), 0)
  """

  weights: Maps
  # A field of None is no leaf; a pytree may also hold what is no array.
  momentum: Any
  start: Any
  pending: Any
  recent: Any
  position: Any
  rule: Rule = dataclasses.field(metadata={"static": True})

  def replace(self, **changes) -> "MemoryState":
    """The same with some fields changed."""
    return dataclasses.replace(self, **changes)

  @property
  def lead(self) -> tuple[int, ...]:
    """Sizes of the axes ``*B H``."""
    return jax.tree.leaves(self.weights)[0].shape[:-2]

  @property
  def bytes(self) -> int:
    """Size of everything it holds; it does not grow with what is read."""
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(self))

  @property
  def norm(self) -> Float[Array, "*B H"]:
    """Size of the accumulator, all maps together: what to watch."""
    squares = [(w * w).sum((-2, -1)) for w in self.weights.values()]
    return jnp.sqrt(sum(squares[1:], squares[0]))


def init(
  rule: Rule,
  batch: tuple[int, ...],
  heads: int,
  width: int,
  *,
  value_width: int | None = None,
  weights: Mapping[str, Float[Array, "H I O"]] | None = None,
  dtype: DTypeLike = jnp.float32,
) -> MemoryState:
  """A memory that has read nothing.

  Args:
    rule: what it is.
    batch: sizes of the batch axes ``*B``.
    heads: H; each has a memory of its own.
    width: D, of keys and queries.
    value_width: E; None is D.
    weights: name -> ``H I O``, what it knows from the start, the same for every
      row; usually learned, see `initial_weights`. None is 0, for a matrix.
    dtype: of everything it holds.

  Raises:
    ValueError: if sizes do not fit the rule, or weights are left out where 0
      could never learn.

  >>> from attnjax import memory
  >>> memory.init(memory.linear_attention(), (), heads=1, width=3).bytes
  40
  """
  value_width = width if value_width is None else value_width
  rule.structure.validate(width, value_width)
  shapes = rule.structure.shapes(rule.features.width(width), value_width)
  if weights is None:
    if len(shapes) > 1:
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
  spread = lambda w: jnp.broadcast_to(w, (*batch, *w.shape)).astype(dtype)
  held = _own({name: spread(weights[name]) for name in shapes})
  return _with(rule, held, (*batch, heads), (width, value_width), dtype)


def _with(rule: Rule, held: Maps, lead, widths, dtype) -> MemoryState:
  """The state with such weights and nothing else in it."""
  nothing = lambda: jax.tree.map(jnp.zeros_like, held)
  by_chunk = rule.updates == "chunk"
  number = lambda: jnp.zeros(lead, dtype)
  sums = {"rate": number(), "momentum": number(), "decay": number()}
  tokens = rule.window - 1
  before = lambda *s: jnp.zeros((*lead, tokens, *s), dtype)
  gates = {"rate": before()}
  if rule.objective.takes_threshold:
    gates["threshold"] = before() + jnp.ones((), dtype)
  return MemoryState(
    weights=held,
    momentum=nothing() if rule.algorithm.has_momentum else None,
    start=_own(held) if rule.gradients == "chunk" and not by_chunk else None,
    pending=Pending(nothing(), sums) if by_chunk else None,
    recent=Recent(before(widths[0]), before(widths[1]), gates)
    if tokens
    else None,
    position=np.zeros((), np.int32),  # of numpy: known while a program is made
    rule=rule,
  )


def _own(maps: Maps) -> Maps:
  """Copies: a state shares no buffer, so that a program may be given all."""
  return {name: jnp.array(w, copy=True) for name, w in maps.items()}


def initial_weights(
  rule: Rule,
  key: Key[Array, ""],
  heads: int,
  width: int,
  *,
  value_width: int | None = None,
  scale: float = 1.0,
) -> dict[str, Float[Array, "H I O"]]:
  """Random weights to begin with, and to learn from there.

  Args:
    rule: what the memory is.
    key: for the draws.
    heads: H.
    width: D.
    value_width: E; None is D.
    scale: standard deviation in units of 1 / sqrt(inputs of a map).

  Returns:
    Name -> ``H I O``.

  >>> import jax
  >>> from attnjax import memory
  >>> rule = memory.titans(depth=2)
  >>> found = memory.initial_weights(rule, jax.random.key(0), 3, 4)
  >>> {name: w.shape for name, w in found.items()}
  {'map_0': (3, 4, 16), 'map_1': (3, 16, 4)}
  """
  value_width = width if value_width is None else value_width
  shapes = rule.structure.shapes(rule.features.width(width), value_width)
  keys = jax.random.split(key, len(shapes))
  return {
    name: scale * jax.random.normal(k, (heads, i, o)) / i**0.5
    for k, (name, (i, o)) in zip(keys, shapes.items(), strict=True)
  }
