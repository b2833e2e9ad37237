"""Adapts a plain attention function to the suite, by the options it takes."""

import dataclasses
import inspect
from collections.abc import Callable, Sequence

import jax.numpy as jnp

from attnjax.ops.grid import Grid
from attnjax.ops.masks.algebra import Mask
from attnjax.testing.problem import Problem

__all__ = ["Ordinary", "as_tested", "fitted", "ordinary"]

_OFFERS = (
  "aux",
  "bias",
  "dropout_rate",
  "mask",
  "normalizer",
  "score_mod",
  "scoring",
)
_DEFAULT_AUX = Problem().aux


@dataclasses.dataclass(frozen=True)
class Ordinary:
  """A plain attention function, wrapped in the signature of `attnjax.attend`.

  Args:
    function: ``(query, key, value, **offered)``.
    offers: the options it takes.
    grouped: whether it takes fewer key heads than query heads; else key heads
      are repeated.

  >>> import jax.numpy as jnp
  >>> double = Ordinary(lambda query, key, value: 2 * query, ())
  >>> double(*[jnp.ones((1, 1, 1))] * 3).item()
  2.0
  """

  function: Callable
  offers: tuple[str, ...]
  grouped: bool = True

  def __call__(self, query, key, value, **options):
    """Calls the function, with masks, positions and segments as one array."""
    seen = _as_array(query, key, options)
    if seen is not None:
      options["mask"] = seen

    group = query.shape[-2] // key.shape[-2]
    if not self.grouped and group > 1:
      key, value = (jnp.repeat(x, group, axis=-2) for x in (key, value))
    return self.function(query, key, value, **options)


def ordinary(
  function: Callable,
  offers: Sequence[str] | None = None,
  *,
  grouped: bool = True,
) -> Ordinary:
  """Adapts a plain attention function, to check the options that it takes.

  Masks, positions and segment ids of a case are combined into one boolean array
  ``*B H T S``, true where a query may see a key, and passed as ``mask=``. Cases
  with an option that the function does not take are skipped, by name.

  Args:
    function: ``(query, key, value, **offered) -> out``, layout ``*B T H D``.
    offers: of "aux", "bias", "dropout_rate", "mask", "normalizer", "score_mod"
      and "scoring"; None reads them from the function's signature.
    grouped: False repeats key heads before the function sees them.

  Raises:
    ValueError: for an option that is not among these.

  >>> def mine(query, key, value, mask=None, bias=None):
  ...   return query
  >>> ordinary(mine).offers
  ('bias', 'mask')
  """
  if offers is None:
    taken = inspect.signature(function).parameters
    offers = [name for name in _OFFERS if name in taken]
  unknown = sorted(set(offers) - set(_OFFERS))
  if unknown:
    raise ValueError(
      f"testing.ordinary: offers must be among {list(_OFFERS)}, got {unknown}"
    )
  return Ordinary(function, tuple(sorted(offers)), grouped)


def fitted(attend: Callable, problem: Problem) -> tuple[Problem, str | None]:
  """Adjusts a problem to the options that an attention takes.

  Returns:
    (problem, None), or (problem, reason to skip the case). An attention without
    ``aux=`` is asked for the output alone.
  """
  if not isinstance(attend, Ordinary):
    return problem, None
  # Every problem asks for logsumexp by default. Without this, an attention that
  # returns its output alone would skip every case.
  if "aux" not in attend.offers and problem.aux == _DEFAULT_AUX:
    problem = dataclasses.replace(problem, aux=())

  asked = {
    "aux": problem.aux,
    "bias": problem.bias is not None,
    "dropout_rate": problem.dropout_rate,
    # Positions are not here: by themselves they hide nothing.
    "mask": problem.mask or problem.array_mask or problem.segments,
    "normalizer": problem.normalizer,
    "score_mod": problem.score_mod,
    "scoring": problem.scoring,
  }
  missing = [n for n, x in asked.items() if x and n not in attend.offers]
  if not missing:
    return problem, None
  return problem, f"this attention does not offer {', '.join(missing)}"


def as_tested(attend: Callable) -> Callable:
  """The attention, adapted if its signature has neither ``aux`` nor ``**``."""
  if isinstance(attend, Ordinary):
    return attend
  try:
    taken = inspect.signature(attend).parameters.values()
  except ValueError:  # a built-in may have no signature
    return attend
  everything = any(x.kind is inspect.Parameter.VAR_KEYWORD for x in taken)
  every = {x.name for x in taken}
  return attend if everything or "aux" in every else ordinary(attend)


def _as_array(query, key, options: dict):
  """Mask, positions and segment ids of a call as booleans ``*B H T S``.

  They are removed from the options. None if nothing is hidden.
  """
  places = [options.pop(f"{x}_positions", None) for x in ("query", "key")]
  ids = [options.pop(f"{x}_segment_ids", None) for x in ("query", "key")]
  *batch, length, heads, _ = query.shape
  shape = (*batch, heads, length, key.shape[-3])

  mask, seen = options.pop("mask", None), None
  if isinstance(mask, Mask):
    grid = Grid.of(tuple(batch), heads, length, shape[-1], *places)
    seen = mask.visible(grid)
  elif mask is not None:
    seen = jnp.asarray(mask)

  if ids[0] is not None:
    same = ids[0][..., None, :, None] == ids[1][..., None, None, :]
    seen = same if seen is None else seen & same
  return None if seen is None else jnp.broadcast_to(seen, shape)
