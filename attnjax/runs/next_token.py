"""Next-token prediction: loss, and abstract batches."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from attnjax import training

__all__ = ["BATCH_DTYPES", "abstract_batch", "next_token_loss"]

# Arrays [B, T] of a batch of packed `attnjax.data.train_batches`.
BATCH_DTYPES = {
  "tokens": jnp.int32,
  "targets": jnp.int32,
  "weights": jnp.float32,
  "positions": jnp.int32,
  "segment_ids": jnp.int32,
}


def next_token_loss(
  model: Callable[..., jax.Array],
  batch: Mapping[str, jax.Array],
  key: jax.Array | None,
) -> tuple[jax.Array, jax.Array]:
  """Cross-entropy of the next token, summed over all positions of a batch.

  Args:
    model: tokens, positions and segment ids -> logits, as `DecoderLM`.
    batch: arrays ``B T``, as `BATCH_DTYPES` names them.
    key: is not looked at, for nothing is random.

  Returns:
    (nats, number of tokens), both weighted by ``weights``.

  >>> import jax.numpy as jnp
  >>> uniform = lambda tokens, **of: jnp.zeros((*tokens.shape, 5))
  >>> batch = {k: jnp.ones((2, 3), dtype) for k, dtype in BATCH_DTYPES.items()}
  >>> nats, tokens = next_token_loss(uniform, batch, None)
  >>> print(f"{nats / tokens:.4f} = log 5")
  1.6094 = log 5
  """
  del key
  logits = model(
    batch["tokens"],
    positions=batch["positions"],
    segment_ids=batch["segment_ids"],
  )
  return training.cross_entropy(logits, batch["targets"], batch["weights"])


def abstract_batch(
  rows: int, length: int, mesh: Mesh
) -> dict[str, jax.ShapeDtypeStruct]:
  """Shapes of a batch on a mesh: rows over data and fsdp, tokens over sequence.

  Args:
    rows: B.
    length: T.
    mesh: with the axes of `training.AXES`.

  >>> from attnjax.runs.mesh import MeshConfig
  >>> mesh = MeshConfig(data=4, sequence=2).make()
  >>> tokens = abstract_batch(8, 6, mesh)["tokens"]
  >>> tokens.sharding.shard_shape(tokens.shape)
  (2, 3)
  """
  # Rows go over fsdp too: its devices share the parameters, and each computes
  # rows of its own.
  place = NamedSharding(mesh, PartitionSpec(("data", "fsdp"), "sequence"))
  return {
    name: jax.ShapeDtypeStruct((rows, length), dtype, sharding=place)
    for name, dtype in BATCH_DTYPES.items()
  }
