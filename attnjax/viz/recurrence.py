"""`joined`: attention of a recurrence, one query a step, as one call."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from attnjax.viz.captured import AttentionCall, Captured
from attnjax.viz.harvest import Found

__all__ = ["joined", "joined_calls"]


def joined(captured: Captured, steps: int | None = None) -> Captured:
  """Calls of one query each, a step of a scan apart, as one call of all steps.

  A recurrence that attends at every step, as a GRU that looks at its source,
  makes a call of one query a step. `capture` lists them one by one, for layers
  that are scanned look the same; joined, the steps are the queries of one call,
  which a page shows over its tokens. Other calls stay as they are.

  Args:
    captured: of a model.
    steps: length of the scans to join; None is any, the innermost first.

  >>> import attnjax, jax, jax.numpy as jnp
  >>> source = jnp.ones((5, 1, 2))
  >>> def step(state, x):
  ...   state = state + x + attnjax.attend(state, source, source)
  ...   return state, state
  >>> model = lambda x: jax.lax.scan(step, jnp.zeros((1, 1, 2)), x)
  >>> from attnjax.viz import capture
  >>> captured = capture(model, jnp.ones((7, 1, 1, 2)))
  >>> len(captured), [call.lengths for call in joined(captured)]
  (7, [(7, 5)])
  """
  groups = _groups(captured, steps)
  calls = [
    captured[numbers[0]] if at is None else _StepsCall(*at)
    for at, numbers in groups
  ]
  return dataclasses.replace(
    captured,
    calls=tuple(calls),
    made=(None,) * len(calls),
    reads=lambda: [captured.reads()[numbers[0]] for _, numbers in groups],
  )


def joined_calls(
  captured: Captured, steps: int | None = None
) -> list[list[int]]:
  """Which calls each of those `joined` came from: one a query, or one alone.

  >>> import attnjax, jax.numpy as jnp
  >>> from attnjax.viz import capture
  >>> x = jnp.ones((3, 1, 2))
  >>> joined_calls(capture(attnjax.attend, x, x, x))
  [[0]]
  """
  return [numbers for _, numbers in _groups(captured, steps)]


def _groups(captured: Captured, steps: int | None) -> list[tuple[Any, list]]:
  """(arguments of `_StepsCall` or None, calls in the order of the steps)."""
  arguments: dict[Any, Any] = {}
  members: dict[Any, dict[int, int]] = {}
  places = captured.made or (None,) * len(captured)
  for number, made in enumerate(places):
    level = None if made is None else _level(made[0], steps)
    key: Any = number
    step = 0
    if made is not None and level is not None:
      found, at = made
      kept = tuple(None if n == level else x for n, x in enumerate(at))
      key, step = (id(found), kept), at[level]
      arguments[key] = found, kept, level
    members.setdefault(key, {})[step] = number

  # A scan that runs backward makes its last step's call first.
  return [
    (arguments.get(key), [numbers[step] for step in sorted(numbers)])
    for key, numbers in members.items()
  ]


def _level(found: Found, steps: int | None) -> int | None:
  """The scan whose steps are queries; None where there is none."""
  fitting = [
    level
    for level, count in enumerate(found.steps)
    if count > 1 and steps in (None, count)
  ]
  return fitting[-1] if fitting else None


class _StepsCall(AttentionCall):
  """A call of one query within scans, the steps of one of which are queries."""

  def __init__(self, found: Found, at: tuple[int | None, ...], level: int):
    # Scans are around maps: the axis of the steps comes first, where there is
    # one, and the scans within it index the axis behind.
    operands, steps = list(found.operands), found.levels[level]
    for number, (scan, step) in enumerate(zip(found.levels, at, strict=False)):
      if step is None:
        continue
      kept = [number > level and mapped for mapped in steps.mapped]
      operands = [
        (x[:, step] if behind else x[step]) if mapped else x
        for x, mapped, behind in zip(operands, scan.mapped, kept, strict=True)
      ]
    maps = [x.mapped for x in found.levels if x.length is None]
    super().__init__(found.site, operands, [steps.mapped, *maps])
    self._count = found.steps[level]

  @property
  def lengths(self) -> tuple[int, int]:
    """(steps, S)."""
    return self._count, self.key.shape[-3]

  def positions(self) -> tuple[np.ndarray, np.ndarray]:
    """The steps, and the indices of the keys."""
    steps, keys = self.lengths
    return np.arange(steps)[None], np.arange(keys)[None]

  def _rows(self, function: Callable, queries, heads) -> jax.Array:
    """A function of rows, where a row is a step."""
    found = super()._rows(function, [0], heads)
    if not any(self._maps[0]):
      # No operand changes from step to step: each attends alike.
      found = jnp.broadcast_to(found, (self._count, *found.shape))
    found = jnp.moveaxis(found[..., 0, :], 0, -2)
    if queries is None:
      return found
    return found[..., jnp.asarray(list(queries), jnp.int32), :]
