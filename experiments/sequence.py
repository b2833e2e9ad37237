"""Tokens that devices share out: which attention meets them, in which order."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
from flax import nnx
from jax.sharding import Mesh

from attnjax import parallel
from attnjax.models import DecoderLM
from attnjax.training import MeshConfig

__all__ = ["OnSequence", "attention_on", "loss_on", "with_attention"]

_KINDS = {
  "ring": parallel.RingAttention,
  "all_gather": parallel.AllGatherAttention,
  "ulysses": parallel.UlyssesAttention,
}


def attention_on(
  mesh: Mesh | None, config: MeshConfig, key_heads: int
) -> Callable | None:
  """The attention of a mesh that shares out tokens; None where none does.

  Args:
    mesh: from `training.make_mesh`.
    config: says which attention and which layout.
    key_heads: K of the model. Where `tensor` does not divide them all of its
      devices attend with all heads.
  """
  if mesh is None or mesh.shape["sequence"] == 1:
    return None
  shared = key_heads % mesh.shape["tensor"] == 0
  layout: Any = config.layout  # one of the choices, which mypy does not know
  return _KINDS[config.attention](
    mesh,
    "sequence",
    layout,
    batch=("data", "fsdp"),
    heads="tensor" if shared else (),
  )


def with_attention(model: Any, attention: Callable) -> Any:
  """The same parameters in a model that calls another attention.

  Args:
    model: with a config and a vocabulary, of arrays or of tracers.
    attention: called as `attnjax.attend`.
  """
  shapes = jax.eval_shape(
    lambda: type(model)(
      model.config, model.vocabulary, attend=attention, rngs=nnx.Rngs(0)
    )
  )
  return jax.tree.unflatten(jax.tree.structure(shapes), jax.tree.leaves(model))


@dataclasses.dataclass(frozen=True)
class OnSequence:
  """A loss of a model whose tokens are shared out.

  Args:
    loss: `(model, batch, key) -> sums`.
    attention: a sharded one, which knows its layout.
  """

  loss: Callable
  attention: Any

  def __call__(self, model: Any, batch: Mapping, key: Any) -> Any:
    """The loss, with the tokens in the order of the layout."""
    model = with_attention(model, self.attention)
    return self.loss(model, self._laid_out(batch), key)

  def _laid_out(self, batch: Mapping) -> Mapping:
    """Every array of tokens in the order of the layout."""
    if self.attention.layout == "contiguous":
      return batch
    if "positions" not in batch:
      raise ValueError(
        f"mesh.layout: expected 'contiguous', got {self.attention.layout!r}:"
        " the batch has no positions, so that nobody would know the order;"
        " choose contiguous, or a task that gives positions"
      )
    length = batch["positions"].shape[1]
    tokens = lambda x: x.ndim > 1 and x.shape[1] == length
    return {
      name: self.attention.permute(x, axis=1) if tokens(x) else x
      for name, x in batch.items()
    }


def loss_on(
  mesh: Mesh | None, config: MeshConfig, model: Any, loss: Callable
) -> Callable:
  """The loss of a model on a mesh: itself, unless tokens are shared out.

  A model with a memory reads its tokens one chunk after the other: there the
  compiler brings the tokens together, and `attend` stays as it is.

  Args:
    mesh: from `training.make_mesh`.
    config: what it was made of.
    model: parameters, or their shapes.
    loss: `(model, batch, key) -> sums`.
  """
  if not isinstance(model, DecoderLM):
    return loss
  heads = model.config.kv_heads or model.config.heads
  attention = attention_on(mesh, config, heads)
  return loss if attention is None else OnSequence(loss, attention)
