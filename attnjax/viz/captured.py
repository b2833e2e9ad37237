"""`capture`: what each call of attention in a model was given.

Queries, keys, positions and masks are kept, not weights: those are computed
again for the rows, heads and layers that are asked for, whatever computed the
output of the model.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from attnjax.ops.attention.observe import Site
from attnjax.ops.attention.weights import attention_logits, attention_weights
from attnjax.viz.harvest import Found, Program, in_order, trace
from attnjax.viz.named_array import NamedArray

__all__ = ["AttentionCall", "Capture", "Captured", "capture"]

# Weights that are made without being asked for by number: 256 MiB of float32.
_MANY = 2**26

# Inputs that a query, and that a key was computed from.
Reads = tuple[frozenset[int], frozenset[int]]


class AttentionCall:
  """One call of `attend`: its arguments, and weights of it when asked for.

  Args:
    site: the arguments that were known while the model was traced.
    operands: the others.
    maps: which of these have an axis in front of each `vmap` around the call,
      the outermost first.

  >>> import attnjax, jax.numpy as jnp
  >>> x = jnp.ones((3, 1, 2))
  >>> call = capture(attnjax.attend, x, x, x)[0]
  >>> call.lengths, call.heads, call.weights(queries=[0]).shape
  ((3, 3), 1, (1, 1, 1, 3))
  """

  query: jax.Array  # ``*V *B T H D``, V the axes of `vmap`s
  key: jax.Array  # ``*V *B S K D``
  options: Mapping[str, Any]  # of the call: `mask`, `query_positions`...

  def __init__(
    self,
    site: Site,
    operands: Sequence[jax.Array],
    maps: Sequence[tuple[bool, ...]] = (),
  ):
    self._site, self._operands, self._maps = site, operands, maps
    self.query, self.key, self.options = site.arguments(operands)

  @property
  def heads(self) -> int:
    """H, number of query heads."""
    return self.query.shape[-2]

  @property
  def lengths(self) -> tuple[int, int]:
    """(T, S), number of queries and keys."""
    return self.query.shape[-3], self.key.shape[-3]

  @property
  def batch(self) -> int:
    """Number of batch rows, over all axes of a batch and of `vmap`."""
    if 0 in self.lengths:
      return 0
    one = lambda: self._rows(attention_weights, [0], [0])
    return math.prod(jax.eval_shape(one).shape[:-3])

  def weights(
    self,
    *,
    queries: Sequence[int] | None = None,
    heads: Sequence[int] | None = None,
  ) -> jax.Array:
    """Weights ``B H N S`` of some queries and heads; None is all of them."""
    return _one_batch_axis(self._rows(attention_weights, queries, heads))

  def logits(
    self,
    *,
    queries: Sequence[int] | None = None,
    heads: Sequence[int] | None = None,
  ) -> jax.Array:
    """Logits ``B H N S``, -inf where a key is hidden."""
    return _one_batch_axis(self._rows(attention_logits, queries, heads))

  def positions(self) -> tuple[np.ndarray, np.ndarray]:
    """Where queries (``B T`` or ``1 T``) and keys stand, numpy."""
    found = []
    names = ("query_positions", "key_positions")
    for name, length in zip(names, self.lengths, strict=True):
      given = self.options.get(name)
      rows = np.arange(length) if given is None else np.asarray(given)
      # Not -1: of a length of 0 that could be any number.
      found.append(rows.reshape(math.prod(rows.shape[:-1]), length))
    return found[0], found[1]

  def _rows(self, function: Callable, queries, heads) -> jax.Array:
    """A function of rows, under the maps around the call."""
    rows = None if queries is None else jnp.asarray(list(queries), jnp.int32)

    def one(*operands):
      query, key, options = self._site.arguments(operands)
      return function(query, key, queries=rows, heads=heads, **options)

    for mapped in reversed(self._maps):
      one = jax.vmap(one, in_axes=[0 if x else None for x in mapped])
    return one(*self._operands)


@dataclasses.dataclass(frozen=True, eq=False)
class Captured:
  """What a model returned, and every call of attention that it made.

  A *layer* is one call, in the order in which they are made: of an
  encoder-decoder first the layers of the encoder, then self- and
  cross-attention of the decoder by turns.

  Args:
    out: what the model returned.
    calls: one a layer.
    made: of a call of one query within scans, where it stands in these; None of
      the others. See `recurrence.joined`.
    reads: the inputs that query and key of each call were computed from, by
      their numbers; model and parameters count for none.

  >>> import attnjax, jax.numpy as jnp
  >>> x = jnp.ones((3, 1, 2))
  >>> captured = capture(attnjax.attend, x, x, x)
  >>> len(captured), captured.out.shape
  (1, (3, 1, 2))
  """

  out: Any
  calls: tuple[AttentionCall, ...]
  made: tuple[tuple[Found, tuple[int, ...]] | None, ...] = ()
  reads: Callable[[], Sequence[Reads]] = tuple

  def __len__(self) -> int:
    return len(self.calls)

  def __iter__(self) -> Iterator[AttentionCall]:
    return iter(self.calls)

  def __getitem__(self, layer: int) -> AttentionCall:
    return self.calls[layer]

  def _repr_html_(self) -> str:
    """A table of the calls, for a notebook; no weight is computed for it."""
    rows = ["<tr><th>layer<th>heads<th>queries<th>keys</tr>"]
    for layer, call in enumerate(self.calls):
      cells = map(str, (layer, call.heads, *call.lengths))
      rows.append("<tr><td>" + "<td>".join(cells) + "</tr>")
    return f"<table>{''.join(rows)}</table>"

  def weights(
    self,
    *,
    layers: Sequence[int] | None = None,
    heads: Sequence[int] | None = None,
    queries: Sequence[int] | None = None,
  ) -> NamedArray:
    """Weights of chosen layers, heads and queries, computed now.

    Args:
      layers: which calls; None is all. Those chosen have the same numbers of
        heads, queries and keys.
      heads: None is all.
      queries: indices, negative ones from the end; None is all.

    Returns:
      Axes (layer, batch, head, query, key).

    Raises:
      ValueError: an index is outside, or shapes of the layers differ, or more
        than 2**26 weights would be made without being chosen by number.
    """
    return self._collect("weights", layers, heads, queries)

  def logits(
    self,
    *,
    layers: Sequence[int] | None = None,
    heads: Sequence[int] | None = None,
    queries: Sequence[int] | None = None,
  ) -> NamedArray:
    """Logits, -inf where a key is hidden; arguments as of `weights`."""
    return self._collect("logits", layers, heads, queries)

  def _collect(self, what: str, layers, heads, queries) -> NamedArray:
    """Rows of every chosen layer, stacked."""
    numbers = chosen("layers", layers, len(self.calls))
    calls = [self.calls[k] for k in numbers]
    shapes = {(x.heads, *x.lengths) for x in calls}
    if len(shapes) != 1:
      raise ValueError(
        "layers must have the same numbers of heads, queries and keys to stand"
        f" in one array, got {sorted(shapes)}; choose layers="
      )

    count, length, keys = shapes.pop()
    shown = chosen("heads", heads, count)
    rows = chosen("queries", queries, length)
    size = len(numbers) * len(shown) * len(rows) * keys * calls[0].batch
    if size > _MANY and queries is None:
      raise ValueError(
        f"queries must be chosen, for all T={length} of {len(numbers)} layers"
        f" and {len(shown)} heads make {size:,} {what}; give queries=, layers="
        " or heads= (queries=range(T) makes them all)"
      )

    found = [getattr(x, what)(queries=rows, heads=shown) for x in calls]
    return NamedArray(
      np.stack([np.asarray(x) for x in found]),
      ("layer", "batch", "head", "query", "key"),
      {"layer": numbers, "head": shown, "query": rows},
    )


def capture(model: Callable, *inputs: Any, **options: Any) -> Captured:
  """Runs a model and keeps what each call of `attend` was given.

  The model is traced once, with its calls marked, and run as one jitted
  program; layers that are scanned come out one by one. It takes any function of
  arrays whose attention goes through `attend`, `dot_product_attention` or a
  sharded attention of `attnjax.parallel`; nothing is changed in the model.
  Weights are computed only when asked for: see `Captured.weights`.

  Args:
    model: a module or a function; its jax.Arrays are traced.
    *inputs: for it.
    **options: for it.

  Raises:
    ValueError: no call of attention was made.
    NotImplementedError: one is made in a `while`, a branch or a map over
      devices.

  >>> from flax import nnx
  >>> import jax, jax.numpy as jnp
  >>> from attnjax.models import DecoderConfig, DecoderLM
  >>> config = DecoderConfig(width=8, depth=3, heads=2, hidden=16)
  >>> model = DecoderLM(config, 17, rngs=nnx.Rngs(0))
  >>> captured = capture(model, jnp.arange(5)[None])
  >>> captured.weights(layers=[0, 2], queries=[-1]).shape
  (2, 1, 2, 1, 5)
  """
  return Capture()(model, *inputs, **options)


class Capture:
  """`capture` for one model again and again, as it trains: compiled once.

  It is traced anew where more than the values of arrays differs from the call
  before.

  >>> import attnjax, jax.numpy as jnp
  >>> again = Capture()
  >>> for n in (1.0, 2.0):
  ...   x = jnp.full((3, 1, 2), n)
  ...   print(float(again(attnjax.attend, x, x, x).out.max()))
  1.0
  2.0
  """

  def __init__(self) -> None:
    self._of: Any = None
    self._run: Callable | None = None
    self._program: Any = None

  @property
  def program(self) -> Program:
    """What was traced last; None before."""
    return self._program

  def __call__(self, model: Callable, *inputs: Any, **options: Any) -> Captured:
    """As `capture`."""
    leaves, tree = jax.tree.flatten((model, inputs, options))
    arrays = [x for x in leaves if isinstance(x, jax.Array)]
    of = tree, [_abstract(x) for x in leaves]
    if self._run is None or not _same(of, self._of):
      self._program = trace(model, *inputs, **options)
      self._run, self._of = jax.jit(self._program.run), of

    out, found = self._run(arrays)
    if not found:
      raise ValueError(
        "model must call attention, and none was seen; its layers call"
        " attnjax.attend, or are given it as attend="
      )
    order = in_order(found)
    calls = tuple(_call(found[k], at) for k, at in order)
    made = [
      (found[k], at) if at and call.lengths[0] == 1 else None
      for call, (k, at) in zip(calls, order, strict=True)
    ]
    # Looked for only where a page has to know it.
    program, given = self._program, (inputs, options)
    reads = lambda: _reads(program, leaves, given, [k for k, _ in order])
    return Captured(out, calls, tuple(made), reads)


def chosen(name: str, which, size: int) -> tuple[int, ...]:
  """Indices counted from the first; None is all.

  >>> chosen("heads", [-1], 4), chosen("heads", None, 2)
  ((3,), (0, 1))
  """
  if which is None:
    return tuple(range(size))
  numbers = tuple(int(k) for k in which)
  if not numbers or any(not -size <= k < size for k in numbers):
    raise ValueError(
      f"{name} must be some of the {size} there are, got {list(numbers)}"
    )
  return tuple(k % size for k in numbers)


def _reads(
  program: Program, leaves: Sequence, given: Any, order: Sequence[int]
) -> list[Reads]:
  """The inputs that query and key of each call depend on."""
  # An array that is an argument itself is an input; those within a model or
  # among parameters are not. One that is given twice is one input.
  inputs, options = given
  numbers = {
    id(x): n
    for n, x in reversed([*enumerate([*inputs, *options.values()])])
    if isinstance(x, jax.Array)
  }
  arrays = [x for x in leaves if isinstance(x, jax.Array)]
  known = [numbers.get(id(x)) for x in arrays]
  of_found = [
    tuple(
      frozenset(n for n in (known[k] for k in side) if n is not None)
      for side in sides
    )
    for sides in program.reads()
  ]
  return [(of_found[k][0], of_found[k][1]) for k in order]


def _abstract(x: Any) -> Any:
  """Shape and dtype of a traced array; all else as it is."""
  return (x.shape, x.dtype) if isinstance(x, jax.Array) else x


def _same(one: Any, other: Any) -> bool:
  """Whether two calls differ in no more than the values of arrays."""
  if other is None or one[0] != other[0]:
    return False
  # By identity first: numpy arrays are not compared as one truth.
  pairs = zip(one[1], other[1], strict=True)
  return all(
    x is y or (not isinstance(x, np.ndarray) and bool(x == y)) for x, y in pairs
  )


def _call(found: Found, at: tuple[int, ...]) -> AttentionCall:
  """The call of one step of the scans around it."""
  operands, maps, steps = list(found.operands), [], iter(at)
  for level in found.levels:
    if level.length is None:
      maps.append(level.mapped)
      continue
    step, pairs = next(steps), zip(operands, level.mapped, strict=True)
    operands = [x[step] if mapped else x for x, mapped in pairs]

  return AttentionCall(found.site, operands, maps)


def _one_batch_axis(x: jax.Array) -> jax.Array:
  """``*B H N S`` as ``B H N S``."""
  return x.reshape(math.prod(x.shape[:-3]), *x.shape[-3:])
