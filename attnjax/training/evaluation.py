"""Evaluation over many batches: sums per batch, means once at the end."""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from attnjax.moved import forward_names
from attnjax.training.global_batches import put_batch_like
from attnjax.training.losses import LossFn, loss_sums
from attnjax.typing import DTypeLike, PyTree

__all__ = [
  "Evaluate",
  "EvaluateOn",
  "check_evaluation",
  "make_evaluate",
  "scalars",
]


@dataclasses.dataclass(frozen=True)
class Evaluate:
  """Mean loss over batches, `(params, batches) -> metrics`: `make_evaluate`."""

  loss_fn: LossFn
  compute_dtype: DTypeLike | None = None

  def __call__(
    self, params: PyTree, batches: Iterable[PyTree]
  ) -> dict[str, float]:
    """Loss in nats per weight, perplexity and weight over all batches."""
    pending, sums = None, []
    put_batch = put_batch_like(params)

    for batch in batches:
      current = _batch_sums(
        self.loss_fn, self.compute_dtype, params, put_batch(batch)
      )
      # Read one batch late: the device has work while Python waits.
      if pending is not None:
        sums.append(jax.device_get(pending))
      pending = current

    if pending is not None:
      sums.append(jax.device_get(pending))

    return _means(sums)

  def on(self, batches: Sequence[PyTree]) -> "EvaluateOn":
    """Binds the batches: an evaluation `params -> metrics`."""
    return EvaluateOn(self, batches)


# Without ==: batches are arrays, of which == is an array.
@dataclasses.dataclass(frozen=True, eq=False)
class EvaluateOn:
  """`params -> metrics` on fixed batches; see `Evaluate.on`."""

  evaluate: Evaluate
  batches: Sequence[PyTree]

  @property
  def names(self) -> tuple[str, ...]:
    """Names of the metrics that every evaluation returns."""
    # Extra metrics have names that only a call of the loss tells.
    return "loss", "perplexity", "weight"

  def __call__(self, params: PyTree) -> dict[str, float]:
    """The metrics of all batches."""
    return self.evaluate(params, self.batches)


def make_evaluate(
  loss_fn: LossFn, compute_dtype: DTypeLike | None = None
) -> Evaluate:
  """An evaluation that any number of batches compile once.

      loss = Σ_j L[j] / Σ_j w[j],   perplexity = exp(loss)

  The sums over batches are made in float64 on the host, so that a long
  evaluation loses nothing.

  Args:
    loss_fn: `(params, batch, key) -> (total, weight[, extra])` as for
      `make_step`. The key is None: nothing is dropped out at evaluation.
    compute_dtype: dtype that float parameters are cast to; None: no cast.

  Returns:
    `evaluate(params, batches)`: a dict of Python floats with `loss`,
    `perplexity`, `weight` and the extra metrics per weight. It raises
    ValueError where nothing has a weight, for then there is no mean.
    `evaluate.on(batches)(params)` does the same on fixed batches.

  >>> import jax
  >>> def loss_fn(params, batch, key):
  ...   return (params * batch).sum(), batch.size
  >>> batches = [jax.numpy.arange(3.0), jax.numpy.arange(5.0)]
  >>> make_evaluate(loss_fn)(jax.numpy.float32(2), batches)["loss"]
  3.25
  """
  return Evaluate(loss_fn, compute_dtype)


def scalars(values: Any) -> dict[str, float]:
  """Checks the metrics that an evaluation returned; as Python floats.

  Args:
    values: a mapping of names to numbers; `loss` is one of them.

  Raises:
    ValueError: there is no `loss`, a name is reserved, or a value is no
      scalar; names it.

  >>> import numpy as np
  >>> scalars({"loss": np.float32(2.5), "accuracy": 1})
  {'loss': 2.5, 'accuracy': 1.0}
  >>> scalars({"accuracy": 1})
  Traceback (most recent call last):
  ValueError: evaluate must return a `loss`, which chooses the best checkpoint,
  got accuracy
  """
  if not isinstance(values, Mapping) or "loss" not in values:
    got = values
    if isinstance(values, Mapping):
      got = ", ".join(map(str, values)) or "nothing"
    raise ValueError(
      "evaluate must return a `loss`, which chooses the best checkpoint, got"
      f" {got}"
    )

  if taken := {"step", "split"} & set(values):
    raise ValueError(
      f"evaluate must return no {' or '.join(sorted(taken))}, by which records"
      " are found; give it another name"
    )

  found = {}
  for name, value in values.items():
    try:
      found[name] = float(value)
    except (TypeError, ValueError) as error:
      raise ValueError(
        f"evaluate: {name} must be a scalar, got {type(value).__name__} of"
        f" shape {np.shape(value)}"
      ) from error

  return found


def check_evaluation(
  evaluate: Callable[[PyTree], Mapping[str, Any]], params: PyTree
) -> None:
  """Checks, before a run, that an evaluation returns scalars and a loss.

  An evaluation with an attribute `names`, as `make_evaluate` gives it, is
  checked by these names. Any other has to be called once.

  Args:
    evaluate: parameters -> scalars.
    params: before the first step.

  Raises:
    ValueError: as `scalars`.
    Exception: whatever the evaluation raises.

  >>> check_evaluation(lambda params: {"loss": params}, 3.0)
  """
  # Calling an evaluation may take minutes, so that its names are trusted.
  names = getattr(evaluate, "names", None)
  scalars(dict.fromkeys(names, 0.0) if names else evaluate(params))


@functools.partial(jax.jit, static_argnums=(0, 1))
def _batch_sums(
  loss_fn: LossFn, compute_dtype: Any, params: PyTree, batch: PyTree
) -> Any:
  """Loss, weight and extra metrics summed over one batch, on the device.

  At module level, so that all evaluations of one loss share its programs.
  """
  return loss_sums(loss_fn, params, batch, None, compute_dtype)


def _means(sums: list[Any]) -> dict[str, float]:
  """Means over all batches, per weight; added up in float64 on the host."""
  # `fsum` rounds once, so that the order of the batches does not matter.
  weight = math.fsum(float(weight) for _, weight, _ in sums)
  if weight == 0:
    raise ValueError(
      f"batches: expected targets of non-zero weight, got {len(sums)} batches"
      " without one; an average over nothing is no result"
    )

  loss = math.fsum(float(total) for total, _, _ in sums) / weight
  try:
    perplexity = math.exp(loss)
  except OverflowError:  # above 709 nats `exp` leaves float64
    perplexity = math.inf
  means = {"loss": loss, "perplexity": perplexity, "weight": weight}

  for name in sums[0][2]:
    total = math.fsum(float(extra[name]) for _, _, extra in sums)
    means[name] = total / weight

  return means


# Names of earlier versions, with a `DeprecationWarning`.
__getattr__ = forward_names(__name__)
