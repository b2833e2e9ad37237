"""Trains the models of all seeds in one program, for experiments of small ones.

A step of a model this small is spent on dispatch: five seeds at once take about
as long as two one after the other.
"""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from attnjax import training
from attnjax.models import MATRICES
from attnjax.training import OptimizerConfig
from attnjax.training.losses import LossFn
from attnjax.training.step import Step
from attnjax.typing import PyTree

__all__ = ["Look", "check_looks", "of_seed", "train", "train_whole"]


class Look(NamedTuple):
  """What is seen of a training, every so many steps.

  Args:
    step: updates done.
    params: of all seeds, each leaf with an axis of seeds in front.
    metrics: name -> ``S``, the mean over the steps since the last look.
  """

  step: int
  params: PyTree
  metrics: dict[str, np.ndarray]


def train(
  models: Sequence[PyTree],
  loss: LossFn,
  batches: Sequence[Callable[[int], Mapping[str, np.ndarray]]],
  optimizer: OptimizerConfig,
  *,
  steps: int,
  every: int,
) -> Iterator[Look]:
  """Trains models of one shape side by side; yields a look at them at a time.

  Args:
    models: one a seed; only their numbers differ.
    loss: as for `training.make_step`; uses no key.
    batches: of each seed, step -> batch.
    optimizer: of all.
    steps: at most; whoever stops iterating stops the training.
    every: steps between looks, a divisor of `steps`.

  >>> import jax.numpy as jnp
  >>> import numpy as np
  >>> from attnjax.training import OptimizerConfig
  >>> def loss(params, batch, key):
  ...   return ((params["kernel"] - batch) ** 2).sum(), jnp.float32(1)
  >>> models = [{"kernel": jnp.float32(n)} for n in range(2)]
  >>> looks = train(
  ...   models, loss, [lambda step: np.float32(3), lambda step: np.float32(5)],
  ...   OptimizerConfig(0.3, warmup_steps=0, weight_decay=0.0), steps=60,
  ...   every=30)
  >>> *_, last = looks
  >>> away = last.params["kernel"] - jnp.array([3.0, 5.0])
  >>> last.step, bool(abs(away).max() < 0.1)
  (60, True)
  """
  step = _step(loss, optimizer, steps)
  states = [training.init_state(model, step.optimizer) for model in models]
  states = jax.tree.map(lambda *x: jnp.stack(x), *states)

  for begun in range(0, steps, every):
    # ``N S B ...``
    drawn = [
      _stacked([batch(begun + n) for batch in batches]) for n in range(every)
    ]
    states, metrics = _many(step, states, _stacked(drawn))
    means = {name: np.asarray(x).mean(0) for name, x in metrics.items()}
    yield Look(begun + every, states.params, means)


def train_whole(
  models: Sequence[PyTree],
  loss: LossFn,
  batches: Sequence[Callable[[int], Mapping[str, np.ndarray]]],
  optimizer: OptimizerConfig,
  *,
  steps: int,
  every: int,
) -> tuple[PyTree, list[list[float]]]:
  """Trains models to the end: what they are then, and how they learned.

  Args:
    models: as the others, see `train`.
    loss: its metrics have an "accuracy".
    batches: each drawn anew, so that it is of rows that no step has seen.
    optimizer: of all.
    steps: updates.
    every: steps of a mean, a divisor of `steps`.

  Returns:
    Parameters, each leaf with an axis of seeds in front, and the accuracy of
    training, a list a seed of means over `every` steps.
  """
  looks = train(models, loss, batches, optimizer, steps=steps, every=every)
  curve = []
  for look in looks:
    curve.append(look.metrics["accuracy"])
    last = look.params
  return last, np.stack(curve, axis=1).round(4).tolist()


def of_seed(params: PyTree, seed: int) -> PyTree:
  """The parameters of one seed of all."""
  return jax.tree.map(lambda x: x[seed], params)


def check_looks(steps: int, every: int) -> None:
  """Raises ValueError unless looks divide a training.

  >>> check_looks(100, 30)
  Traceback (most recent call last):
    ...
  ValueError: every must divide steps=100, got 30
  """
  if steps % every:
    raise ValueError(f"every must divide steps={steps}, got {every}")


def _stacked(trees: Sequence[PyTree]) -> PyTree:
  """Leaves of several trees with an axis of them in front."""
  return jax.tree.map(lambda *x: np.stack(x), *trees)


# One object for equal arguments: by it the compiled program is found again.
@functools.cache
def _step(loss: LossFn, optimizer: OptimizerConfig, steps: int) -> Step:
  """The step of a training."""
  transform = training.make_optimizer(optimizer, steps, MATRICES)
  return training.make_step(loss, transform)


@functools.partial(jax.jit, static_argnums=0)
def _many(step: Step, states: Any, batches: PyTree):
  """(states, metrics ``N S``) after N steps of S models at once."""
  return jax.lax.scan(jax.vmap(step), states, batches)
