"""The ring: keys go round the devices, queries stay where they are."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from attnjax.ops.tiles import EMPTY, Subscripts, Sweep

__all__ = [
  "Courier",
  "Gather",
  "Ring",
  "arc",
  "column",
  "parted",
  "rejoined",
  "travels",
  "with_column",
]


@runtime_checkable
class Courier(Protocol):
  """How keys that others have come to a device; see `Sweep`."""

  @property
  def pieces(self) -> int:
    """In how many they come; the codes of a sweep are by piece."""

  def knowing(self, codes: np.ndarray | None) -> "Courier":
    """The courier of a call of whose tiles this is known."""

  def __call__(
    self, walk, sweep: Sweep, operands, subscripts, state, state_subscripts
  ) -> list:
    """Folds the tiles of all keys into the state."""


def arc(live) -> tuple:
  """The shortest way round that passes every step which is live.

  Step d shows a device the keys of the one d before it. The way begins some
  steps back, and goes forward from there.

  Args:
    live: bool ``n``, numpy if it is known.

  Returns:
    How far back it begins, and how many steps it has.

  >>> import numpy as np
  >>> arc(np.array([True, True, False, False, False, True]))
  (1, 3)
  >>> arc(np.ones(6, bool))
  (0, 6)
  """
  xp = np if isinstance(live, np.ndarray) else jnp
  size = live.shape[0]
  step = np.arange(size, dtype=np.int32)
  most = lambda which: xp.max(xp.where(live & which, step, 0))
  forward = most(step <= size // 2)
  back = xp.max(xp.where(live & (step > size // 2), size - step, 0))
  # Going back costs steps of its own, on which nothing is computed.
  whole = most(step >= 0)
  straight = whole <= 2 * back + forward
  found = xp.where(straight, 0, back), xp.where(straight, whole, back + forward)
  found = found[0], xp.where(live.any(), found[1] + 1, 0)
  return tuple(map(int, found)) if xp is np else found


@dataclasses.dataclass(frozen=True)
class Ring:
  """The courier of a ring: brings the keys of every device by, in turn.

  The next keys are sent on before anything is computed with those that are
  here. What is summed over queries travels beside the keys that it is of, one
  step behind, and goes home at the end.

  Args:
    axis: of the mesh.
    size: devices on it.
    everyone: axes of the mesh over which what is computed differs.
    steps: that hold something for some device, in order; None where that is
      found out when the program runs.

  >>> import numpy as np
  >>> known = np.zeros((1, 4, 4), np.int32)
  >>> known[0] = np.tri(4) - np.tri(4, k=-2)  # a window, two blocks wide
  >>> Ring("sequence", 4, ("sequence",)).knowing(known).steps
  (0, 1)
  """

  axis: str
  size: int
  everyone: tuple[str, ...]
  steps: tuple[int, ...] | None = None

  @property
  def pieces(self) -> int:
    """Keys come in as many pieces as there are devices."""
    return self.size

  def knowing(self, codes: np.ndarray | None) -> "Ring":
    """The courier that goes only the steps which hold something."""
    if codes is None:
      return self
    batch, queries, keys = codes.shape
    n = self.size
    every = codes.reshape(batch, n, queries // n, n, keys // n)
    pairs = (every != EMPTY).any((0, 2, 4))
    device = np.arange(n)
    live = np.array([pairs[device, device - step].any() for step in range(n)])
    back, count = arc(live)
    # From here on first, so that the way to those behind is no idle one.
    steps = (*range(count - back), *range(-back, 0))
    return dataclasses.replace(
      self, steps=tuple(step for step in steps if live[step % n])
    )

  def __call__(
    self,
    walk: Callable,
    sweep: Sweep,
    operands,
    subscripts,
    state,
    state_subscripts,
  ) -> list:
    """Folds the tiles of all keys into the state of the queries here."""
    here, fixed = parted(operands, subscripts)
    sums, held = parted(state, state_subscripts)
    nothing = sums  # sums over queries begin as zeros, wherever they are
    me = lax.axis_index(self.axis)

    def visit(step, here, held):
      """The state of the queries, and what their tiles add to these keys."""
      origin = (me - step) % self.size
      cut = lambda x, axes: column(x, axes, origin, self.size)
      parts = list(map(cut, rejoined(here, fixed, subscripts), subscripts))
      before = rejoined(nothing, held, state_subscripts)
      start = list(map(cut, before, state_subscripts))
      codes = lax.dynamic_index_in_dim(sweep.codes, origin, keepdims=False)
      new = walk(sweep._replace(codes=codes), parts, start)
      put = lambda x, y, axes: with_column(x, y, axes, origin)
      new = list(map(put, before, new, state_subscripts))
      gained, held = parted(new, state_subscripts)
      return held, gained

    if self.steps is None:
      live = self._live(sweep, me)
      held, sums = self._found(live, visit, here, held, sums)
    else:
      held, sums = self._known(self.steps, visit, here, held, sums)
    return rejoined(sums, held, state_subscripts)

  def shift(self, xs, by: int):
    """Sends arrays so many devices on."""
    if by % self.size == 0:
      return xs
    pairs = [(i, (i + by) % self.size) for i in range(self.size)]
    return jax.tree.map(lambda x: lax.ppermute(x, self.axis, pairs), xs)

  def _known(self, steps: tuple[int, ...], visit, here, held, sums):
    """Goes the steps that are known, in a loop where they are equal."""
    strides, at = _strides(steps), 0
    for k, (first, stride, more) in enumerate(strides):
      here = self.shift(here, first) if not k else here
      # Sums arrive with the stride: here they begin one before.
      sums = self.shift(sums, first - stride - at) if k else sums
      at = first + stride * more
      leaves = strides[k + 1][0] - at if k + 1 < len(strides) else 0
      way = (first, stride, more, leaves)
      here, held, sums = self._loop(visit, here, held, sums, *way)
    return held, self.shift(sums, -at)

  def _found(self, live, visit, here, held, sums):
    """Goes the steps that are found to hold something."""
    back, count = arc(live)
    last = jnp.maximum(count - 1, 0)
    here = self._turned(here, -1, back)
    _, held, sums = self._loop(visit, here, held, sums, -back, 1, last)
    home = (back - last) % self.size
    nearer = home <= self.size // 2
    sums = self._turned(sums, 1, jnp.where(nearer, home, 0))
    return held, self._turned(sums, -1, jnp.where(nearer, 0, self.size - home))

  def _turned(self, xs, by: int, times):
    """Sends arrays on, as many times as it is found to take."""
    return lax.fori_loop(0, times, lambda _, x: self.shift(x, by), xs)

  def _loop(self, visit, here, held, sums, first, stride, more, leaves=0):
    """Visits a step and so many more, and leaves the last for another."""

    def hop(i, carry, leaves=stride):
      here, held, sums = carry
      # On its way before anything is computed.
      ahead = self.shift(here, leaves) if leaves else here
      # Also where these are still zeros: to spare that would take a third copy
      # of what is computed.
      sums = self.shift(sums, stride)
      held, gained = visit(first + stride * i, here, held)
      return ahead, held, [x + y for x, y in zip(sums, gained, strict=True)]

    carry = lax.fori_loop(0, more, hop, (here, held, sums))
    return hop(more, carry, leaves)

  def _live(self, sweep: Sweep, me):
    """Which steps hold something for some device; the same on all of them."""
    step = jnp.arange(self.size, dtype=jnp.int32)
    codes = sweep.codes[(me - step) % self.size]
    live = (codes != EMPTY).any(1).astype(jnp.int32)
    return lax.pmax(live, self.everyone) > 0


def _strides(steps: tuple[int, ...]) -> list[tuple[int, int, int]]:
  """Steps as (first, stride, how many more).

  >>> _strides((0, 1, 2, -1)), _strides((0, 3, 5))
  ([(0, 1, 2), (-1, 0, 0)], [(0, 3, 1), (5, 0, 0)])
  """
  found: list[tuple[int, int, int]] = []
  for step in steps:
    first, stride, more = found[-1] if found else (step, 0, -1)
    if more == 0:
      found[-1] = (first, step - first, 1)
    elif more > 0 and step == first + stride * (more + 1):
      found[-1] = (first, stride, more + 1)
    else:
      found.append((step, 0, 0))
  return found


def travels(axes: Subscripts) -> bool:
  """Whether an array is divided along its keys.

  >>> travels("bhs."), travels("bhts"), travels("bhq.")
  (True, False, False)
  """
  return "s" in axes and "t" not in axes


def parted(xs: Sequence, subscripts: Sequence[Subscripts]) -> tuple[list, list]:
  """What travels, and what stays."""
  pairs = list(zip(xs, subscripts, strict=True))
  going = [x for x, axes in pairs if travels(axes)]
  return going, [x for x, axes in pairs if not travels(axes)]


def rejoined(going: Sequence, staying: Sequence, subscripts) -> list:
  """The inverse of `parted`."""
  kinds = {True: iter(going), False: iter(staying)}
  return [next(kinds[travels(axes)]) for axes in subscripts]


def column(x, axes: Subscripts, origin, shards: int):
  """Of an array with all keys, those of one device; others are as they are."""
  if not _has_columns(axes):
    return x
  axis = axes.index("s")
  size = x.shape[axis] // shards
  return lax.dynamic_slice_in_dim(x, origin * size, size, axis)


def with_column(x, part, axes: Subscripts, origin) -> jax.Array:
  """The array with the keys of one device replaced."""
  if not _has_columns(axes):
    return part
  axis = axes.index("s")
  return lax.dynamic_update_slice_in_dim(
    x, part, origin * part.shape[axis], axis
  )


def _has_columns(axes: Subscripts) -> bool:
  """Whether an array is along queries and keys."""
  return "s" in axes and "t" in axes


@dataclasses.dataclass(frozen=True)
class Gather:
  """The courier that brings all keys at once, and adds up what returns.

  Backward they are brought again: between the passes a device holds its own.

  Args:
    axis: of the mesh.
    pieces: in which keys come: one.

  >>> Gather("sequence").pieces
  1
  """

  axis: str
  pieces: int = 1

  def knowing(self, codes: np.ndarray | None) -> "Gather":
    """Itself: it brings everything."""
    del codes
    return self

  def __call__(
    self,
    walk: Callable,
    sweep: Sweep,
    operands,
    subscripts,
    state,
    state_subscripts,
  ) -> list:
    """Folds the tiles of all keys into the state of the queries here."""
    parts = [
      self._gathered(x, axes) if travels(axes) else x
      for x, axes in zip(operands, subscripts, strict=True)
    ]
    wide = [
      jnp.zeros_like(self._gathered(x, axes)) if travels(axes) else x
      for x, axes in zip(state, state_subscripts, strict=True)
    ]
    new = walk(sweep._replace(codes=sweep.codes[0]), parts, wide)
    sums, held = parted(new, state_subscripts)
    axes = [axes.index("s") for axes in state_subscripts if travels(axes)]
    sums = [
      lax.psum_scatter(x, self.axis, scatter_dimension=axis, tiled=True)
      for x, axis in zip(sums, axes, strict=True)
    ]
    return rejoined(sums, held, state_subscripts)

  def _gathered(self, x, axes: str):
    """An array of all keys, in the order of the devices."""
    return lax.all_gather(x, self.axis, axis=axes.index("s"), tiled=True)
