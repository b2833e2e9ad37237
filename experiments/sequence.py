"""The attention of a model on a mesh, and the order in which tokens come."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
from flax import nnx
from jax.sharding import Mesh

from attnjax import parallel
from attnjax.models import DecoderLM
from attnjax.training import MeshConfig

__all__ = ["OnMesh", "attention_on", "loss_on", "with_attention"]

_KINDS = {
  "ring": parallel.RingAttention,
  "all_gather": parallel.AllGatherAttention,
  "ulysses": parallel.UlyssesAttention,
}


def attention_on(
  mesh: Mesh | None, config: MeshConfig, key_heads: int
) -> Callable | None:
  """The attention of a mesh, which says what is divided; None of one device.

  It is of use where tokens are not shared out too: it holds the rows of a
  batch where they are, and so the compiler brings weights to rows. Left to
  itself it was seen to bring rows to weights: seven times the bytes.

  Args:
    mesh: from `training.make_mesh`.
    config: says which attention and which layout.
    key_heads: K of the model. Where `tensor` does not divide them all of its
      devices attend with all heads.
  """
  if mesh is None:
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
class OnMesh:
  """A loss of a model whose rows, heads and tokens are shared out.

  Args:
    loss: `(model, batch, key) -> sums`.
    attention: a sharded one, which knows its layout.
  """

  loss: Callable
  attention: Any

  def __call__(self, model: Any, batch: Mapping, key: Any) -> Any:
    """The loss, with the tokens in the order of the layout."""
    attention, mesh = self.attention, self.attention.mesh
    rows = jax.tree.leaves(batch)[0].shape[0]
    if rows % (mesh.shape["data"] * mesh.shape["fsdp"]):
      # Of an evaluation: every device has all rows, see `training.feed.put`.
      attention = dataclasses.replace(attention, batch=())
    model = with_attention(model, attention)
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
  """The loss of a model on a mesh: of a decoder, with sharded attention.

  A model with a memory reads its tokens one chunk after the other: there the
  compiler divides what it can, and `attend` stays as it is.

  Args:
    mesh: from `training.make_mesh`.
    config: what it was made of.
    model: parameters, or their shapes.
    loss: `(model, batch, key) -> sums`.

  Raises:
    ValueError: if flags ask for an attention that the model does not take.
  """
  if not isinstance(model, DecoderLM):
    _refuse_choices(config, type(model).__name__)
    return loss
  heads = model.config.kv_heads or model.config.heads
  attention = attention_on(mesh, config, heads)
  return loss if attention is None else OnMesh(loss, attention)


def _refuse_choices(config: MeshConfig, name: str) -> None:
  """Raises where an attention was chosen that would not be used."""
  for field in ("layout", "attention"):
    chosen, usual = getattr(config, field), getattr(MeshConfig(), field)
    if chosen != usual:
      raise ValueError(
        f"mesh.{field}: expected {usual!r}, got {chosen!r}: a {name} takes no"
        " sharded attention, the compiler divides its tokens; leave it out"
      )
