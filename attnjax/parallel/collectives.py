"""Collectives that move keys and values: a ring of `ppermute`, or all-gather.

Each device holds the queries, keys and values of its own tokens. A courier runs
on every device inside of `jax.shard_map`: it brings the keys of the other
devices, folds their tiles into the state of the local queries, and returns
sums over queries, such as the gradient of a key, to the device of the key.

Which arrays move is read off their axis letters (b batch, h head, t query, s
key). Arrays along s and not t are sharded as the keys are, and must travel.
Arrays along t and s, such as a bias, are sharded by queries and have all keys
locally: each device takes the columns of one device at a time. All others
stay.
"""

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
  "join",
  "key_columns",
  "shortest_way",
  "split_by_travel",
  "travels",
  "with_key_columns",
]


@runtime_checkable
class Courier(Protocol):
  """Moves the keys of other devices here; the `courier` of a `Sweep`."""

  @property
  def pieces(self) -> int:
    """Number of pieces in which the keys come, one code of a tile for each."""

  def skipping_empty(self, codes: np.ndarray | None) -> "Courier":
    """The courier of a call whose tiles are known; None knows nothing.

    Args:
      codes: EMPTY, MIXED or FULL of every tile, ``b t s`` of the whole call.
    """

  def __call__(
    self,
    walk: Callable,
    sweep: Sweep,
    operands: Sequence,
    subscripts: Sequence[Subscripts],
    state: Sequence,
    state_subscripts: Sequence[Subscripts],
  ) -> list:
    """Folds the tiles of all keys into the state, by ``walk``."""


def travels(axes: Subscripts) -> bool:
  """Whether an array is divided among devices along its keys.

  >>> travels("bhs."), travels("bhts"), travels("bhq.")
  (True, False, False)
  """
  return "s" in axes and "t" not in axes


def split_by_travel(
  arrays: Sequence, subscripts: Sequence[Subscripts]
) -> tuple[list, list]:
  """(arrays that travel, arrays that stay)."""
  pairs = list(zip(arrays, subscripts, strict=True))
  moving = [x for x, axes in pairs if travels(axes)]
  return moving, [x for x, axes in pairs if not travels(axes)]


def join(
  moving: Sequence, staying: Sequence, subscripts: Sequence[Subscripts]
) -> list:
  """The inverse of `split_by_travel`."""
  kinds = {True: iter(moving), False: iter(staying)}
  return [next(kinds[travels(axes)]) for axes in subscripts]


def key_columns(x, axes: Subscripts, device, devices: int) -> jax.Array:
  """The columns of one device's keys, of an array along queries and keys.

  Any other array is returned as it is.
  """
  if not ("s" in axes and "t" in axes):
    return x
  axis = axes.index("s")
  size = x.shape[axis] // devices
  return lax.dynamic_slice_in_dim(x, device * size, size, axis)


def with_key_columns(x, part, axes: Subscripts, device) -> jax.Array:
  """The array with the columns of one device's keys replaced by a part."""
  if not ("s" in axes and "t" in axes):
    return part
  axis = axes.index("s")
  start = device * part.shape[axis]
  return lax.dynamic_update_slice_in_dim(x, part, start, axis)


@dataclasses.dataclass(frozen=True)
class Gather:
  """Courier by all-gather of the keys and reduce-scatter of their sums.

  Keys are gathered again in the backward pass: between the passes a device
  holds its own keys only.

  Args:
    axis: name of the mesh axis.
    pieces: number of pieces in which keys come: one.

  >>> Gather("sequence").pieces
  1
  """

  axis: str
  pieces: int = 1

  def skipping_empty(self, codes: np.ndarray | None) -> "Gather":
    """Itself: one collective brings everything."""
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
    gathered = [
      self._gather(x, axes) if travels(axes) else x
      for x, axes in zip(operands, subscripts, strict=True)
    ]
    # A sum over queries of `n` devices starts as zero on each, for a scatter
    # adds up what they all return.
    start = [
      jnp.zeros_like(self._gather(x, axes)) if travels(axes) else x
      for x, axes in zip(state, state_subscripts, strict=True)
    ]

    new = walk(sweep._replace(codes=sweep.codes[0]), gathered, start)

    # Each device gets back the sums of its own keys, added up over devices.
    sums, rest = split_by_travel(new, state_subscripts)
    at = [axes.index("s") for axes in state_subscripts if travels(axes)]
    sums = [
      lax.psum_scatter(x, self.axis, scatter_dimension=axis, tiled=True)
      for x, axis in zip(sums, at, strict=True)
    ]
    return join(sums, rest, state_subscripts)

  def _gather(self, x, axes: Subscripts) -> jax.Array:
    """An array of the keys of all devices, in the order of the devices."""
    return lax.all_gather(x, self.axis, axis=axes.index("s"), tiled=True)


def shortest_way(live) -> tuple:
  """The shortest way round a ring that passes every step with live tiles.

  At step d a device meets the keys of the device d before it. A way begins
  some steps back and then goes forward, one step at a time.

  Args:
    live: bool ``n``, whether some device has a tile to compute at a step;
      numpy if that is known while tracing.

  Returns:
    (steps back at which it begins, number of steps): Python integers for
    numpy, traced ones else.

  >>> import numpy as np
  >>> shortest_way(np.array([True, True, False, False, False, True]))
  (1, 3)
  >>> shortest_way(np.ones(6, bool))
  (0, 6)
  """
  numpy = np if isinstance(live, np.ndarray) else jnp
  size = live.shape[0]
  step = np.arange(size, dtype=np.int32)
  furthest = lambda which: numpy.max(numpy.where(live & which, step, 0))

  # Live steps of the first half are reached forward, the others backward.
  forward = furthest(step <= size // 2)
  behind = live & (step > size // 2)
  back = numpy.max(numpy.where(behind, size - step, 0))

  # Going back takes `back` sends on which nothing is computed; without it the
  # way leads forward to the last live step.
  last = furthest(step >= 0)
  straight = last <= 2 * back + forward
  start = numpy.where(straight, 0, back)
  count = numpy.where(straight, last, back + forward) + 1

  found = start, numpy.where(live.any(), count, 0)
  return tuple(map(int, found)) if numpy is np else found


@dataclasses.dataclass(frozen=True)
class Ring:
  """Courier that passes keys round a ring of devices, by `ppermute`.

  The next keys are sent before anything is computed with the present ones, so
  that sending overlaps computing. Sums over queries (the gradient of a key)
  travel one step behind their keys, and return to the device of the keys at
  the end.

  Args:
    axis: name of the mesh axis.
    size: number of devices on it.
    deciding: mesh axes over which devices agree, by `pmax`, on the steps that
      are live; all whose devices may have different tiles to skip.
    steps: those at which some device has a tile to compute, in the order in
      which they are taken; None finds them when the program runs.

  >>> import numpy as np
  >>> codes = np.zeros((1, 4, 4), np.int32)
  >>> codes[0] = np.tri(4) - np.tri(4, k=-2)  # a window, two blocks wide
  >>> Ring("sequence", 4, ("sequence",)).skipping_empty(codes).steps
  (0, 1)
  """

  axis: str
  size: int
  deciding: tuple[str, ...]
  steps: tuple[int, ...] | None = None

  @property
  def pieces(self) -> int:
    """Keys come in as many pieces as there are devices."""
    return self.size

  def skipping_empty(self, codes: np.ndarray | None) -> "Ring":
    """The ring that takes only the steps with a tile to compute."""
    if codes is None:
      return self

    batch, queries, keys = codes.shape
    n = self.size
    by_device = codes.reshape(batch, n, queries // n, n, keys // n)
    pairs = (by_device != EMPTY).any((0, 2, 4))  # query device, key device
    device = np.arange(n)
    live = np.array([pairs[device, device - step].any() for step in range(n)])

    # Forward from its own keys first, then one longer send to the keys
    # furthest behind: to begin there costs a send with nothing to compute.
    back, count = shortest_way(live)
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
    keys, fixed = split_by_travel(operands, subscripts)
    sums, held = split_by_travel(state, state_subscripts)
    # Each visit starts from zeros and its result is added to the sums, which
    # are on their way from the device before while it computes.
    zeros = sums
    device = lax.axis_index(self.axis)

    def visit(step, keys, held):
      """(new state of the queries, sums over queries of these tiles)."""
      origin = (device - step) % self.size
      columns = lambda x, axes: key_columns(x, axes, origin, self.size)
      parts = list(map(columns, join(keys, fixed, subscripts), subscripts))
      before = join(zeros, held, state_subscripts)
      start = list(map(columns, before, state_subscripts))

      codes = lax.dynamic_index_in_dim(sweep.codes, origin, keepdims=False)
      new = walk(sweep._replace(codes=codes), parts, start)

      put = lambda x, y, axes: with_key_columns(x, y, axes, origin)
      new = list(map(put, before, new, state_subscripts))
      gained, held = split_by_travel(new, state_subscripts)
      return held, gained

    if self.steps is None:
      live = self._live_steps(sweep, device)
      held, sums = self._traced_steps(live, visit, keys, held, sums)
    else:
      held, sums = self._static_steps(self.steps, visit, keys, held, sums)
    return join(sums, held, state_subscripts)

  def shift(self, arrays, by: int):
    """Sends arrays to the device `by` places on."""
    if by % self.size == 0:
      return arrays
    pairs = [(i, (i + by) % self.size) for i in range(self.size)]
    return jax.tree.map(lambda x: lax.ppermute(x, self.axis, pairs), arrays)

  def _static_steps(self, steps: tuple[int, ...], visit, keys, held, sums):
    """Takes steps that are known while tracing, one loop for each stride.

    The distance of a `ppermute` is static, so a loop has one stride.
    """
    strides, at = _strides(steps), 0
    for k, (first, stride, more) in enumerate(strides):
      keys = self.shift(keys, first) if not k else keys
      # The loop sends sums one stride before it adds: they begin one before.
      sums = self.shift(sums, first - stride - at) if k else sums

      at = first + stride * more
      leave = strides[k + 1][0] - at if k + 1 < len(strides) else 0
      keys, held, sums = self._loop(
        visit, keys, held, sums, first, stride, more, leave
      )

    return held, self.shift(sums, -at)

  def _traced_steps(self, live, visit, keys, held, sums):
    """Takes the steps that turn out live when the program runs."""
    back, count = shortest_way(live)
    last = jnp.maximum(count - 1, 0)
    keys = self._shift_times(keys, -1, back)
    _, held, sums = self._loop(visit, keys, held, sums, -back, 1, last)

    # Sums return by the shorter way round; the other loop has no iteration.
    home = (back - last) % self.size
    nearer = home <= self.size // 2
    sums = self._shift_times(sums, 1, jnp.where(nearer, home, 0))
    other = jnp.where(nearer, 0, self.size - home)
    return held, self._shift_times(sums, -1, other)

  def _shift_times(self, arrays, by: int, times):
    """Sends arrays `by` places on, a traced number of times."""
    return lax.fori_loop(0, times, lambda _, x: self.shift(x, by), arrays)

  def _loop(self, visit, keys, held, sums, first, stride, more, leave=0):
    """Visits a step and `more` others, then sends the keys `leave` places on.

    Returns:
      (keys, state of the queries, sums), as after the last visit.
    """

    def hop(i, carry, onward=stride):
      keys, held, sums = carry
      # Sent before anything is computed, so that sending overlaps computing.
      ahead = self.shift(keys, onward) if onward else keys
      # At the first step these are zeros, sent in vain: to leave that out
      # would put a third copy of the computation in the program.
      sums = self.shift(sums, stride)
      held, gained = visit(first + stride * i, keys, held)
      return ahead, held, [x + y for x, y in zip(sums, gained, strict=True)]

    carry = lax.fori_loop(0, more, hop, (keys, held, sums))
    return hop(more, carry, leave)

  def _live_steps(self, sweep: Sweep, device) -> jax.Array:
    """bool ``n``: steps with a live tile on some device, equal on all."""
    step = jnp.arange(self.size, dtype=jnp.int32)
    codes = sweep.codes[(device - step) % self.size]
    live = (codes != EMPTY).any(1).astype(jnp.int32)
    return lax.pmax(live, self.deciding) > 0


def _strides(steps: tuple[int, ...]) -> list[tuple[int, int, int]]:
  """Groups of equally distant steps, as (first, stride, how many more).

  >>> _strides((0, 1, 2, -1)), _strides((0, 3, 5))
  ([(0, 1, 2), (-1, 0, 0)], [(0, 3, 1), (5, 0, 0)])
  """
  found: list[tuple[int, int, int]] = []
  for step in steps:
    first, stride, more = found[-1] if found else (step, 0, -1)

    if more == 0:  # a group of one step takes its stride from the second
      found[-1] = (first, step - first, 1)
    elif more > 0 and step == first + stride * (more + 1):
      found[-1] = (first, stride, more + 1)
    else:
      found.append((step, 0, 0))

  return found
