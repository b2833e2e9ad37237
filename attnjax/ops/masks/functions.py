"""Masks of any function: `from_fn`, and what is known of its tiles."""

import functools
from collections.abc import Callable

import jax
import numpy as np

from attnjax.ops.captured import refuse_captured
from attnjax.ops.explicit_axes import mesh_of
from attnjax.ops.grid import Area
from attnjax.ops.masks.bounds import UNDECIDED, SomeEvery, numpy_if_known
from attnjax.ops.masks.function_value import FunctionValue, value_key
from attnjax.ops.masks.padding import BlockPadding
from attnjax.ops.masks.protocol import Mask
from attnjax.ops.masks.run_time_tiles import run_time_tiles
from attnjax.ops.masks.tabulation import (
  CELLS,
  Axis,
  Evaluated,
  axis_of,
  depends_on,
  evaluate,
  known_tiles,
)
from attnjax.ops.pytree_dataclass import pytree_dataclass, static
from attnjax.ops.value import format_call
from attnjax.ops.value_checks import value_of

__all__ = ["FromFn", "from_fn", "notes_of_functions"]

# Pairs up to which a function is evaluated while tracing, all batch rows and
# heads that it tells apart together: half a second, or T = S = 32768 of one.
LIMIT = 2**30
_LARGEST = 2**36  # of tiles="exact": half a minute
_COMMON = 8  # what divides blocks that are chosen, and not given
_KINDS = (None, "exact", "never")


def from_fn(
  fn: Callable,
  *arrays,
  tiles: str | None = None,
  decide: Callable | None = None,
) -> Mask:
  """Any function as a mask: ``fn(b, h, q, k, *arrays) -> bool``, pointwise.

  A FlexAttention ``mask_mod`` ports as it is, where no positions are given: q
  and k are positions, so ``a[b, k]`` looks a up by position. Only a traced
  array must not be closed over: give it as one of `arrays`. The function is
  part of the compiled program's identity: define it once, at top level, or
  every call compiles anew.

  Without `arrays` the function is evaluated at every position while a program
  is traced, 2^20 pairs at a time: empty tiles are then skipped, and in full
  ones nothing is masked, as exactly as where a rule says so. T = S = 8192 takes
  some 0.05 s, once: what was found is remembered for a function of the same
  code (the same lines of the same file) whose defaults, closure and global
  variables are equal: numbers, strings, containers, arrays and functions of
  the closure by value, other objects by their own ``==``. More than 2^30 pairs,
  times batch rows and heads where the function tells them apart, are not
  evaluated unless `tiles` says so; `explain` says what was done.

  Args:
    fn: takes batch row, head, query and key position, then the arrays.
    *arrays: captured arrays (or pytrees of them), which may be traced.
    tiles: which tiles are skipped. None tabulates while tracing up to the
      limit; where arrays or positions are traced, when the program runs, if all
      heads share the function, so that it costs less than it may save. "exact"
      tabulates always, "never" computes every tile.
    decide: says it instead, ``decide(query, key, *arrays) -> (some, every)``:
      query and key are pairs of the first and last position of a tile, ints or
      int arrays that broadcast; some False says that the tile is EMPTY, every
      True that it is FULL, and (True, False) is always right. `masks.check`
      finds one that contradicts the function.

  Raises:
    ValueError: if the function closes over a traced array; `tiles` is another
      word, or is given beside `decide`; in `attend`, if the function does not
      return booleans, or its table is too large for "exact".

  >>> print(from_fn(lambda b, h, q, k: q + k == 2).picture(3, 3))
  · · █
  · █ ·
  █ · ·
  >>> from_fn(lambda b, h, q, k: q + k == 2).tile((0, 2), (2, 4))
  <Tile.MIXED: 'mixed'>
  >>> from_fn(lambda b, h, q, k: q + k == 2).tile((2, 4), (2, 4))
  <Tile.EMPTY: 'empty'>

  Reference:
    Dong et al., "Flex Attention: A Programming Model for Generating Optimized
    Attention Kernels", 2024, arXiv 2412.05496.
  """
  refuse_captured("masks.from_fn", fn)
  if tiles not in _KINDS:
    raise ValueError(
      f"masks.from_fn: tiles must be None, 'exact' or 'never', got {tiles!r}"
    )
  if decide is not None:
    refuse_captured("masks.from_fn decide", decide)
    if tiles is not None:
      raise ValueError(
        "masks.from_fn: decide= says which tiles are empty, so tiles must be"
        f" None, got {tiles!r}; give one of the two"
      )
  return FromFn(fn, arrays, tiles, decide)


@pytree_dataclass
class FromFn(Mask):
  """The mask of `from_fn`."""

  fn: Callable = static()
  arrays: tuple
  tiles: str | None = static(default=None)
  rule: Callable | None = static(default=None)

  def __repr__(self):
    """The call that made it."""
    options = {"tiles": self.tiles, "decide": self.rule}
    return format_call("from_fn", self.fn, *self.arrays, **options)

  def __call__(self, b, h, q, k):
    """Evaluates the function."""
    return evaluate(self.fn, self.arrays, b, h, q, k)

  @functools.cached_property
  def _evaluated(self) -> Evaluated:
    """The function and its arrays; of traced ones only their shapes count."""
    leaves, tree = jax.tree.flatten(self.arrays)
    values = [value_of(x) for x in leaves]
    if any(x is None for x in values):
      return Evaluated(FunctionValue(self.fn), self.arrays, None)
    arrays = jax.tree.unflatten(tree, values)
    return Evaluated(FunctionValue(self.fn), arrays, value_key(arrays))

  @property
  def differs_by_head(self) -> bool:
    """Whether other heads may have other tiles."""
    given = self.rule is not None or self.tiles == "never"
    return not given and depends_on(self._evaluated)[1]

  @property
  def tiles_at_run_time(self) -> bool:
    """Whether tiles are looked at where positions or arrays are traced."""
    if self.rule is not None or self.tiles is not None:
      return self.tiles != "never"
    return not depends_on(self._evaluated)[1]

  def decide(self, area: Area) -> SomeEvery:
    """Decides (some, every) of each tile by evaluating all of it."""
    if self.rule is not None:
      return self._as_told(area)
    if self.tiles == "never" or _is_one(area):
      return UNDECIDED

    by_row, by_head = depends_on(self._evaluated)
    if (by_head and area.heads is None) or (by_row and area.batch is None):
      return UNDECIDED
    if self._is_known(area):
      return self._tabulated(area, by_row, by_head)
    if area.blocks is None or not self.tiles_at_run_time:
      return UNDECIDED
    if 0 in _counts(area):
      return UNDECIDED
    arrays = jax.tree.leaves((self.arrays, area.order))
    # Blocks along an axis that a mesh divides would be brought together.
    if mesh_of(*arrays) is not None:
      return UNDECIDED
    function = functools.partial(evaluate, self.fn, self.arrays)
    return run_time_tiles(function, area, by_row=by_row, by_head=by_head)

  def pairs(self, area: Area) -> int:
    """How many pairs `decide` would evaluate while tracing."""
    axes = self._axes(area)
    if axes is None:
      return 0
    by_row, by_head = depends_on(self._evaluated)
    rows = _rows(area) if by_row else 1
    heads = area.all_heads if by_head else 1
    return axes[0].size * axes[1].size * rows * heads

  def beyond(self, area: Area) -> bool:
    """Whether a table of an area is too large to be made while tracing."""
    axes = self._axes(area)
    cells = 0 if axes is None else axes[0].cells * axes[1].cells
    return self.pairs(area) > LIMIT or cells > CELLS

  def _tabulated(self, area: Area, by_row: bool, by_head: bool) -> SomeEvery:
    """The tiles of an area whose bounds and arrays are known."""
    axes = self._axes(area)
    if axes is None:
      return False, False

    if self.beyond(area):
      if self.tiles != "exact":
        return UNDECIDED
      pairs, cells = self.pairs(area), axes[0].cells * axes[1].cells
      if pairs > _LARGEST or cells > CELLS:
        raise ValueError(
          f"from_fn: the table of tiles='exact' must be made of at most"
          f" {_LARGEST} pairs and {CELLS} cells, got {pairs} pairs"
          f" ({axes[0].size} queries, {axes[1].size} keys, times batch rows and"
          f" heads that the function tells apart) and {cells} cells; give"
          " decide=, or tiles=None, which computes every tile"
        )

    return known_tiles(
      self._evaluated,
      _in_order(area),
      axes,
      _rows(area) if by_row else None,
      area.heads if by_head else None,
    )

  def _is_known(self, area: Area) -> bool:
    """Whether the arrays and the positions of an area are values."""
    arrays = jax.tree.leaves(self.arrays)
    bounds = (*area.query, *area.key, *(area.batch or ()))
    # One row of positions; each row of the batch has its own tables else.
    orders = [x for x in area.order if x is not None]
    plain = all(isinstance(x, np.ndarray) and len(x) == 1 for x in orders)
    values = (numpy_if_known(x) for x in bounds)
    return (
      plain
      and all(value_of(x) is not None for x in arrays)
      and all(not isinstance(x, jax.Array) for x in values)
    )

  def _axes(self, area: Area) -> tuple[Axis, Axis] | None:
    """The cells of queries and keys; None where there are none."""
    bounds = _in_order(area)
    query = axis_of(bounds.query, area.order[0])
    key = axis_of(bounds.key, area.order[1])
    if query is None or key is None:
      return None
    # One size for both: of blocks that are tried few tables are made.
    cell = min(query.cell, key.cell)
    if cell >= _COMMON:
      query, key = (x._replace(cell=cell) for x in (query, key))
    return query, key

  def _as_told(self, area: Area) -> SomeEvery:
    """What the user's `decide` says."""
    arrays = jax.tree.map(numpy_if_known, self.arrays)
    told = self.rule(area.query, area.key, *arrays)  # type: ignore[misc]
    pair = isinstance(told, tuple) and len(told) == 2
    if not pair or any(np.result_type(x) != bool for x in told):
      raise ValueError(
        "from_fn: decide must return a pair of booleans (some, every), some"
        f" False of an empty tile and every True of a full one, got {told!r}"
      )
    return told


def _is_one(area: Area) -> bool:
  """Whether a call has one tile a row and head: there is nothing to choose."""
  counts = [np.size(x[0]) for x in (area.query_index, area.key_index)]
  return area.blocks is not None and counts == [1, 1]


def _in_order(area: Area) -> Area:
  """The area with bounds by index where tokens stand in an order of theirs."""
  if area.blocks is None or all(x is None for x in area.order):
    return area
  (t, s), (_, size, keys) = _counts(area), area.blocks
  by_index = lambda n, size: (n * size, n * size + (size - 1))
  query = by_index(np.arange(t)[None, :, None], size)
  key = by_index(np.arange(s)[None, None, :], keys)
  return area._replace(
    query=area.query if area.order[0] is None else query,
    key=area.key if area.order[1] is None else key,
  )


def _counts(area: Area) -> tuple[int, int]:
  """Blocks of queries and of keys of a call."""
  return np.shape(area.query_index[0])[1], np.shape(area.key_index[0])[2]


def _rows(area: Area) -> int:
  """Rows of the batch."""
  return int(np.max(area.batch[1], initial=-1)) + 1 if area.batch else 1


def decide_together(mask: Mask, area: Area) -> SomeEvery | None:
  """(some, every) of rules and functions composed, as of one function.

  What bounds of the parts say of the whole is less: there may be pairs that the
  one shows, and pairs that the other shows, and none that both do. None where
  nothing is tabulated.

  >>> from attnjax import masks
  >>> even = from_fn(lambda b, h, q, k: k % 2 == 0)
  >>> (even & masks.dilated(2)).tile((1, 2), (0, 4))
  <Tile.EMPTY: 'empty'>
  """
  leaves = jax.tree.leaves(mask, is_leaf=lambda x: isinstance(x, FromFn))
  if not leaves or not mask.is_static:
    return None
  if any(x.rule is not None or x.tiles == "never" for x in leaves):
    return None
  tiles = "exact" if all(x.tiles == "exact" for x in leaves) else None
  whole = FromFn(mask, (), tiles)
  # Padding goes by index, and is asked apart.
  padded = isinstance(getattr(mask, "right", None), BlockPadding)
  if padded or not whole._is_known(area) or whole.beyond(area):
    return None
  return whole.decide(area)


def notes_of_functions(mask: Mask, area: Area) -> list[str]:
  """What is known of the tiles of each function in a mask, in words.

  >>> from attnjax import masks
  >>> from attnjax.ops.grid import Area
  >>> area = Area((0, 7), (0, 7), (0, 7), (0, 7))
  >>> mask = masks.causal() & from_fn(lambda b, h, q, k: q > k)
  >>> notes_of_functions(mask, area)
  ['from_fn(<lambda>) tabulated, 64 pairs']
  """
  leaves = jax.tree.leaves(mask, is_leaf=lambda x: isinstance(x, FromFn))
  found = [x for x in leaves if isinstance(x, FromFn)]
  return [f"from_fn({_name(x.fn)}) {_note(x, area)}" for x in found]


def _note(mask: FromFn, area: Area) -> str:
  """What is known of the tiles of a function."""
  if mask.rule is not None:
    return "as its decide says"
  if mask.tiles == "never":
    return "computes every tile, as tiles='never' says"
  if not mask.is_static or any(x is not None for x in area.order):
    if mask.tiles_at_run_time:
      return "tabulated when it runs"
    return (
      "unknown, for it differs by head and arrays are traced: tiles='exact'"
      " tabulates it when it runs"
    )
  if _is_one(area):
    return "not asked of a single tile"
  pairs = f"{mask.pairs(area):,} pairs"
  if mask.beyond(area) and mask.tiles is None:
    return (
      f"not tabulated, {pairs} are beyond the limit of {LIMIT:,}: give decide="
      " or tiles='exact'"
    )
  return f"tabulated, {pairs}"


def _name(fn: Callable) -> str:
  return getattr(fn, "__name__", type(fn).__name__)
