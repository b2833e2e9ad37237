"""What heads attend to over a training: an entropy a head, and pictures."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from attnjax.training import Observation
from attnjax.training.losses import LossFn
from attnjax.viz.captured import Capture, Captured
from attnjax.viz.harvest import trace
from attnjax.viz.heads import head_statistics
from attnjax.viz.pixels import head_pixels
from attnjax.viz.query_effects import queries_that_count
from attnjax.viz.recurrence import joined, joined_calls

__all__ = ["AttentionWatch"]


class AttentionWatch:
  """Observes the attention of a model on one input, as `fit` trains it.

  With each evaluation the entropy of every head, in nats, is recorded, and a
  picture of the heads of each layer for TensorBoard. Nothing of it is in the
  model: it is seen by `viz.capture`, traced and compiled once.

  The entropy is the mean over all queries. Where a loss is watched, it is over
  those whose output the loss depends on: padding is left out, as is what no
  later layer reads. Pictures show all queries.

  Args:
    *inputs: what the model is called with; its first batch row is looked at.
    **options: the same, by name.

  >>> from flax import nnx
  >>> import jax.numpy as jnp
  >>> from attnjax.models import DecoderConfig, DecoderLM
  >>> config = DecoderConfig(width=8, depth=1, heads=2, hidden=16)
  >>> model = DecoderLM(config, 17, rngs=nnx.Rngs(0))
  >>> seen = AttentionWatch(jnp.arange(5)[None])(model)
  >>> sorted(seen.scalars), sorted(seen.pictures)
  (['entropy/layer0/head0', 'entropy/layer0/head1'], ['layer0'])
  """

  def __init__(self, *inputs: Any, **options: Any):
    self._inputs, self._options = inputs, options
    self._capture = Capture()
    self._loss: LossFn | None = None
    self._counts: tuple[Any, Any] = (None, None)  # of a program

  @classmethod
  def of_loss(cls, loss: LossFn, batch: Any) -> "AttentionWatch":
    """Watches a model where it is called by its loss, on one batch.

    Args:
      loss: as of `training.make_step`, without random numbers here.
      batch: of the loss; where all of its arrays have one number of rows, its
        first row alone is computed. Else a query counts where it does in any.

    >>> import attnjax, jax.numpy as jnp
    >>> def loss(model, batch, key):
    ...   x = model * batch["x"]
    ...   return attnjax.attend(x, x, x).sum(), jnp.float32(1)
    >>> batch = {"x": jnp.ones((5, 3, 2, 4))}
    >>> watch = AttentionWatch.of_loss(loss, batch)
    >>> [*watch(jnp.float32(2)).scalars]
    ['entropy/layer0/head0', 'entropy/layer0/head1']
    """
    rows = {np.shape(x)[:1] for x in jax.tree.leaves(batch)}
    if len(rows) == 1 and rows != {()}:
      batch = jax.tree.map(lambda x: x[:1], batch)
    watch = cls(jax.tree.map(jnp.asarray, batch), None)
    watch._loss = loss
    return watch

  def sees(self, model: Any) -> bool:
    """Whether the model calls attention at all; it is traced, and not run."""
    return trace(*self._called(model), **self._options).calls > 0

  def __call__(self, model: Any) -> Observation:
    """Entropies and pictures of a model."""
    seen = self._capture(*self._called(model), **self._options)
    counts = None if self._loss is None else self._counted(model)
    # The steps of a recurrence are the queries of one picture.
    queries = [
      None if counts is None else np.concatenate([counts[k] for k in numbers])
      for numbers in joined_calls(seen)
    ]
    return _observed(joined(seen), queries)

  def _counted(self, model: Any) -> list[np.ndarray]:
    """Which queries of each call the loss depends on, bool ``T``."""
    program = self._capture.program
    if self._counts[0] is not program:
      self._counts = program, queries_that_count(program, lambda out: out[0])
    leaves = jax.tree.leaves((*self._called(model), self._options))
    return self._counts[1]([x for x in leaves if isinstance(x, jax.Array)])

  def _called(self, model: Any) -> tuple:
    """What is called, and with what."""
    if self._loss is None:
      return model, *self._inputs
    return self._loss, model, *self._inputs


def _observed(
  captured: Captured, queries: Sequence[np.ndarray | None]
) -> Observation:
  """Entropies and pictures of what was captured, of queries that count."""
  scalars: dict[str, float] = {}
  pictures: dict[str, Any] = {}
  for layer, call in enumerate(captured):
    counts = queries[layer]
    rows: list[int] | None = None
    # None counts before a projection that starts at 0: then all are looked at.
    if counts is not None and counts.any() and not counts.all():
      rows = np.flatnonzero(counts).tolist()
    numbers = head_statistics(captured, layers=[layer], queries=rows, batch=0)
    pictures[f"layer{layer}"] = head_pixels(call.weights()[0])
    for head in range(call.heads):
      entropy = numbers.at(layer=layer, head=head, statistic="entropy")
      scalars[f"entropy/layer{layer}/head{head}"] = float(entropy)
  return Observation(scalars, pictures)
