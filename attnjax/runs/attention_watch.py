"""What heads attend to over a training: an entropy a head, and pictures."""

from collections.abc import Mapping
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
from attnjax.viz.recurrence import joined

__all__ = ["AttentionWatch"]


class AttentionWatch:
  """Observes the attention of a model on one input, as `fit` trains it.

  With each evaluation the entropy of every head, in nats, is recorded, and a
  picture of the heads of each layer for TensorBoard. Nothing of it is in the
  model: it is seen by `viz.capture`, traced and compiled once.

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

  @classmethod
  def of_loss(cls, loss: LossFn, batch: Any) -> "AttentionWatch":
    """Watches a model where it is called by its loss, on one batch.

    Args:
      loss: as of `training.make_step`, without random numbers here.
      batch: of the loss; where all of its arrays have one number of rows, its
        first row alone is computed.

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
    # The steps of a recurrence are the queries of one picture.
    return _observed(joined(seen))

  def _called(self, model: Any) -> tuple:
    """What is called, and with what."""
    if self._loss is None:
      return model, *self._inputs
    return self._loss, model, *self._inputs


def _observed(captured: Captured) -> Observation:
  """Entropies and pictures of what was captured."""
  numbers = head_statistics(captured, batch=0)
  scalars: dict[str, float] = {}
  pictures: Mapping[str, Any] = {
    f"layer{layer}": head_pixels(call.weights()[0])
    for layer, call in enumerate(captured)
  }
  for layer, call in enumerate(captured):
    for head in range(call.heads):
      entropy = numbers.at(layer=layer, head=head, statistic="entropy")
      scalars[f"entropy/layer{layer}/head{head}"] = float(entropy)
  return Observation(scalars, pictures)
