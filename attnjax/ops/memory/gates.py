"""Gates of a memory: rate, momentum, decay and threshold of each token."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from attnjax.ops.memory.rule import Rule
from attnjax.ops.value_checks import refuse
from attnjax.typing import Array, Bool, Float, PyTree

__all__ = ["Gates", "check_gates", "wanted_gates"]

# Closed ranges of valid values; infinity is refused in all of them.
_RANGES = {
  "rate": (0.0, np.inf),
  "momentum": (0.0, 1.0),
  "decay": (0.0, 1.0),
  "threshold": (0.0, np.inf),
}


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Gates:
  """Step size, momentum, decay and threshold of each token and head.

  Args:
    rate: θ >= 0, ``*B T H``, the step size.
    momentum: η within 0 and 1, ``*B T H``, for rules that have momentum.
    decay: α within 0 and 1, ``*B T H``, for rules that decay; of
      `channel_decay` ``*B T H D``.
    threshold: δ >= 0, ``*B T H``, for the objective `huber(None)`.

  >>> import jax.numpy as jnp
  >>> Gates(jnp.ones((5, 2))).decay is None
  True
  """

  # Arrays; `PyTree` because `jax.tree.map` and `vmap` put other things there.
  rate: PyTree
  momentum: PyTree = None
  decay: PyTree = None
  threshold: PyTree = None


def wanted_gates(rule: Rule) -> tuple[str, ...]:
  """Names of the gates that a rule uses.

  >>> from attnjax.ops.memory.rule import Rule
  >>> wanted_gates(Rule())
  ('rate',)
  """
  uses = {
    "rate": True,
    "momentum": rule.algorithm.has_momentum,
    "decay": rule.retention.decays,
    "threshold": rule.objective.takes_threshold,
  }
  return tuple(name for name, used in uses.items() if used)


def check_gates(
  rule: Rule, gates: Gates, key_shape: tuple[int, ...]
) -> tuple[dict, Bool[Array, "*B T H"] | None]:
  """Checks gates; returns them by name, and marks those out of range.

  The marks are None where all values are known to be in range.

  Raises:
    ValueError: a gate is missing, is not used, holds no floats, has another
      shape than the keys ``*B T H D`` want, or is known to be out of its range.
  """
  # A gate that the rule does not use would be ignored silently.
  for name in _RANGES:
    given, used = getattr(gates, name) is not None, name in wanted_gates(rule)
    if given != used:
      problem = "is given, and the rule has no use for it; leave it out"
      if used:
        problem = "is missing, and the rule needs it; give one number a token"
      raise ValueError(f"gates: {name} {problem}")

  found, wrong = {}, None
  for name in wanted_gates(rule):
    x = getattr(gates, name)
    x = x if isinstance(x, jax.Array) else jnp.asarray(x)
    if not jnp.issubdtype(x.dtype, jnp.floating):
      raise ValueError(f"gates: {name} must be floats, got {x.dtype}")
    by_channel = name == "decay" and rule.retention.by_channel
    shape = key_shape if by_channel else key_shape[:-1]
    if x.shape != shape:
      axes = "*B T H D" if by_channel else "*B T H"
      raise ValueError(
        f"gates: {name} must have the shape '{axes}' = {list(shape)} of the"
        f" keys, got {list(x.shape)}"
      )

    # All gates are checked before any poison: known ones raise, others mark.
    found[name], outside = x, _outside(name, x)
    if outside is not None and by_channel:
      outside = outside.any(-1)
    if outside is not None:
      wrong = outside if wrong is None else wrong | outside

  return found, wrong


def _outside(name: str, x: Float[Array, "..."]) -> Bool[Array, "..."] | None:
  """Where a traced gate is out of range; raises where a known one is."""
  low, high = _RANGES[name]
  limits = f"{low} or more" if high == np.inf else f"within {low} and {high}"
  return refuse(
    lambda x: ~((x >= low) & (x <= high) & (x < np.inf)),
    lambda x: ValueError(
      f"gates: {name} must be finite and {limits}, got numbers from"
      f" {float(x.min())} to {float(x.max())}; a sigmoid keeps them there"
    ),
    x,
  )
