"""What heads attend to over a training: an entropy a head, and pictures."""

from collections.abc import Mapping
from typing import Any

from attnjax.training import Observation
from attnjax.viz.captured import Capture
from attnjax.viz.heads import head_statistics
from attnjax.viz.pixels import head_pixels

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

  def __call__(self, model: Any) -> Observation:
    """Entropies and pictures of a model."""
    captured = self._capture(model, *self._inputs, **self._options)
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
