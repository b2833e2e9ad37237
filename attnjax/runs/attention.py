"""Sharded attention of a model on a mesh, chosen by the flags of its run."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import jax
from jax.sharding import Mesh

from attnjax import parallel
from attnjax.parallel.token_layouts import TokenLayout
from attnjax.runs.mesh import MeshConfig

__all__ = ["MeshAttention", "ShardedLoss", "TakesAttention", "loss_on"]

# By the choices of the flag `mesh.attention`.
_KINDS = {
  "ring": parallel.RingAttention,
  "all_gather": parallel.AllGatherAttention,
  "ulysses": parallel.UlyssesAttention,
}
_ROWS = ("data", "fsdp")


@runtime_checkable
class TakesAttention(Protocol):
  """A model that can be given another attention, such as `DecoderLM`.

  Used where rows, heads or tokens are sharded. A Flax NNX module whose layers
  have fields `attend` returns `nn.with_attend(self, attend)`.

  >>> from attnjax.models import DecoderLM, MemoryLM
  >>> [issubclass(m, TakesAttention) for m in (DecoderLM, MemoryLM)]
  [True, False]
  """

  def with_attend(self, attend: Callable) -> Any:
    """The same parameters in a model that calls another attention."""


@dataclasses.dataclass(frozen=True)
class MeshAttention:
  """`attend` on the mesh of a run: shards rows, heads and tokens of each call.

  Rows go over data and fsdp, heads over tensor and tokens over sequence. Where
  an axis of the mesh does not divide the rows or the key heads of a call, these
  are replicated over it.

  It helps even where tokens are not sharded: it pins the rows of a batch to
  their devices, so that the compiler gathers weights. Without it XLA was seen
  to gather rows instead: seven times the bytes.

  Args:
    mesh: with the axes of `training.AXES`.
    kind: "ring", "all_gather" or "ulysses".
    layout: the order in which tokens come, see `parallel.permute`.

  >>> import jax
  >>> import jax.numpy as jnp
  >>> from attnjax import attend
  >>> from attnjax.runs.mesh import MeshConfig
  >>> ring = MeshAttention(MeshConfig(data=2, sequence=4).make())
  >>> x = jax.random.normal(jax.random.key(0), (2, 8, 1, 4))
  >>> bool(jnp.allclose(ring(x, x, x), attend(x, x, x), atol=1e-6))
  True
  """

  mesh: Mesh
  kind: str = "ring"
  layout: TokenLayout = "contiguous"

  def __call__(
    self, query: jax.Array, key: jax.Array, value: jax.Array, **options: Any
  ) -> Any:
    """Attention over the full sequence, called like `attnjax.attend`."""
    sizes = self.mesh.shape
    rows = math.prod(query.shape[:-3])
    whole_rows = rows % math.prod(sizes[axis] for axis in _ROWS)
    whole_heads = key.shape[-2] % sizes["tensor"]

    # An axis that does not divide the array is refused by shard_map; `()`
    # leaves the array whole on each of its devices.
    sharded = _KINDS[self.kind](
      self.mesh,
      "sequence",
      self.layout,
      batch=() if whole_rows else _ROWS,
      heads=() if whole_heads else "tensor",
    )
    return sharded(query, key, value, **options)

  def permute(self, x: Any, axis: int) -> Any:
    """Puts an axis of tokens into the order of the layout."""
    return parallel.permute(x, self.layout, self.mesh.shape["sequence"], axis)


@dataclasses.dataclass(frozen=True)
class ShardedLoss:
  """The loss of a model with sharded attention.

  Args:
    loss: `(model, batch, key) -> sums`.
    attention: given to the model; its layout orders the tokens.

  >>> from attnjax.runs.mesh import MeshConfig
  >>> mesh = MeshConfig(data=2, sequence=4).make()
  >>> loss = lambda model, batch, key: batch["positions"].tolist()
  >>> class Model:
  ...   def with_attend(self, attend):
  ...     return self
  >>> import numpy as np
  >>> zigzag = ShardedLoss(loss, MeshAttention(mesh, "ring", "zigzag"))
  >>> zigzag(Model(), {"positions": np.arange(8)[None]}, None)
  [[0, 7, 1, 6, 2, 5, 3, 4]]
  """

  loss: Callable
  attention: MeshAttention

  def __call__(self, model: TakesAttention, batch: Mapping, key: Any) -> Any:
    """The loss, with the tokens in the order of the layout."""
    model = model.with_attend(self.attention)
    return self.loss(model, self._permute(batch), key)

  def _permute(self, batch: Mapping) -> Mapping:
    """Permutes every array of tokens into the order of the layout."""
    if self.attention.layout == "contiguous":
      return batch

    if "positions" not in batch:
      raise ValueError(
        f"mesh.layout must be 'contiguous', got {self.attention.layout!r}:"
        " the batch has no positions, so that nobody would know the order;"
        " choose contiguous, or a task that gives positions"
      )

    length = batch["positions"].shape[1]
    # By shape: a batch may hold arrays without an axis of tokens too.
    tokens = lambda x: x.ndim > 1 and x.shape[1] == length
    return {
      name: self.attention.permute(x, axis=1) if tokens(x) else x
      for name, x in batch.items()
    }


def loss_on(
  mesh: Mesh | None, config: MeshConfig, model: Any, loss: Callable
) -> Callable:
  """The loss of a model on a mesh, with sharded attention if it takes one.

  A model without `with_attend`, such as one with a memory, which reads its
  tokens chunk by chunk, keeps its own loss: the compiler decides the sharding.

  Args:
    mesh: from `config.make()`; None for one device.
    config: has the attention and the layout.
    model: parameters, or their shapes; with `with_attend` where it takes one.
    loss: `(model, batch, key) -> sums`.

  Raises:
    ValueError: the config has an attention that the model does not take.

  >>> from attnjax.runs.mesh import MeshConfig
  >>> config = MeshConfig(data=2, sequence=4, attention="ulysses")
  >>> loss_on(config.make(), config, {"kernel": 0.0}, lambda *of: of)
  Traceback (most recent call last):
  ValueError: mesh.attention must be 'ring', got 'ulysses': a dict has no method
  `with_attend` and so takes no sharded attention, the compiler divides its
  tokens; leave it out, or give the model that method
  """
  if not isinstance(model, TakesAttention):
    # An attention was chosen that would not be used.
    for field in ("layout", "attention"):
      chosen, default = getattr(config, field), getattr(MeshConfig(), field)
      if chosen != default:
        raise ValueError(
          f"mesh.{field} must be {default!r}, got {chosen!r}: a"
          f" {type(model).__name__} has no method `with_attend` and so takes no"
          " sharded attention, the compiler divides its tokens; leave it out,"
          " or give the model that method"
        )

    return loss

  if mesh is None:
    return loss

  layout: Any = config.layout  # one of the choices, which mypy does not know
  return ShardedLoss(loss, MeshAttention(mesh, config.attention, layout))
