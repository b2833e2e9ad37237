"""Bits per byte by position, with the whole context and with a short one."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
import optax

from attnjax.models import MemoryLM
from experiments.memory_lm.config import MemoryTextConfig

__all__ = ["bits", "octaves", "restarted_bits"]


def octaves(config: MemoryTextConfig) -> list[tuple[int, int]]:
  """Spans of positions [first, end), whose ends double from L/4 on.

  The training length L is one of the ends: later spans are beyond it.
  """
  length = config.data.length
  ends = [length // 4]
  while ends[-1] < length * config.test.times:
    ends.append(2 * ends[-1])
  return list(zip([0, *ends], ends, strict=False))


def bits(
  config: MemoryTextConfig, model: MemoryLM, rows: Mapping[str, np.ndarray]
) -> np.ndarray:
  """Bits of every byte of long rows read from their beginning, ``B T``."""
  return _by_batch(config, rows, lambda batch: _nats(model, **batch))


def restarted_bits(
  config: MemoryTextConfig, model: MemoryLM, rows: Mapping[str, np.ndarray]
) -> np.ndarray:
  """Bits of the same bytes with a context no longer than in training, ``B T``.

  Each row is cut in pieces of the training length L that overlap by half; of
  each but the first the second half counts. So a byte beyond the first piece is
  predicted from the L/2 to L bytes before it.
  """
  length = config.data.length
  half = length // 2

  def read(batch: Mapping[str, np.ndarray]) -> np.ndarray:
    count, end = batch["tokens"].shape
    # The last piece ends with the row.
    starts = np.arange(0, end - half, half)
    places = starts[:, None] + np.arange(length)

    # Pieces are rows of one larger batch.
    pieces = {k: x[:, places].reshape(-1, length) for k, x in batch.items()}
    nats = np.asarray(_nats(model, **pieces)).reshape(count, -1, length)
    later = nats[:, :, half:].reshape(count, -1)
    return np.concatenate([nats[:, 0, :half], later], axis=1)

  return _by_batch(config, rows, read)


def _by_batch(
  config: MemoryTextConfig, rows: Mapping[str, np.ndarray], read: Callable
) -> np.ndarray:
  """Bits of all rows, float64, read some rows at a time."""
  # Rows are many times as long as in training: a batch of all could not fit.
  size = config.test.batch_size
  parts = [
    np.asarray(read({k: x[first : first + size] for k, x in rows.items()}))
    for first in range(0, config.test.rows, size)
  ]
  return np.concatenate(parts).astype(np.float64) / np.log(2)


@jax.jit
def _nats(model: MemoryLM, tokens, targets):
  """Cross-entropy of every position in nats, float32 ``B T``."""
  logits = model(tokens).astype(jnp.float32)
  return optax.softmax_cross_entropy_with_integer_labels(logits, targets)
