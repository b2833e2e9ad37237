"""Refusal of losses and norms that are not finite."""

import math
from collections.abc import Mapping

from attnjax.training.checkpoint import Checkpoints

__all__ = ["require_finite"]


def require_finite(
  checkpoints: Checkpoints,
  done: int,
  values: Mapping[str, float],
  of: str = "",
) -> None:
  """Raises where a loss or a norm is infinite or NaN.

  Args:
    checkpoints: which say where to go back to.
    done: number of updates.
    values: of a step, or of an evaluation after it.
    of: "evaluation", or nothing for a step.

  Raises:
    FloatingPointError: names the step and what is not finite.
  """
  bad = [
    f"{name} is {values[name]}"
    for name in sorted(values, key=lambda name: (name != "loss", name))
    if _must_be_finite(name) and not math.isfinite(values[name])
  ]

  if not bad:
    return

  checkpoints.wait()
  steps = checkpoints.steps()
  good = f"step {max(steps)}" if steps else "none"
  in_evaluation = f" in its {of}" if of else ""

  if of:
    # The step itself was finite, or it would have been said before.
    where = (
      "The training loss of that step is finite: look at what `evaluate`"
      " reads (the held-out batches) and at what it does with it"
    )
  else:
    where = f"Look at batch_at({done - 1})"

  # A new workdir, for the same command would compute the same numbers.
  raise FloatingPointError(
    f"step {done}: {' and '.join(bad)}{in_evaluation}. Last good checkpoint:"
    f" {good}. {where}; lower the learning rate or clip_norm,"
    " or compute in float32, in a new workdir or in a copy of this one whose"
    " config.json says so too"
  )


def _must_be_finite(name: str) -> bool:
  """The loss, and every norm: of gradients, of parameters, of memories."""
  return name == "loss" or name.endswith("_norm")
