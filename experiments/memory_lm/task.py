"""Loss, and held-out rows, both short and long."""

from collections.abc import Mapping, Sequence

import numpy as np

from attnjax import training
from attnjax.data import Document, TextData, evaluation_batches, pack
from attnjax.models import MemoryLM, norms_by_layer
from experiments.memory_lm.config import MemoryTextConfig

__all__ = ["heldout", "long_rows", "loss"]

_BATCHES = 16  # of short rows, about, that training is followed by


def loss(model: MemoryLM, batch: Mapping, key):
  """Summed (nats, bytes) of the next byte, and norms of the memories by layer.

  Documents that share a row are separated by a boundary token alone.
  """
  del key  # nothing is random
  logits, sizes = model(batch["tokens"], norms=True)
  nats, count = training.cross_entropy(
    logits, batch["targets"], batch["weights"]
  )
  # All that is reported is divided by the count: a size is no sum.
  norms = norms_by_layer(sizes)
  return nats, count, {name: size * count for name, size in norms.items()}


def heldout(config: MemoryTextConfig, text: TextData) -> Sequence:
  """Held-out batches of the training length, evenly spread over the text."""
  batches = evaluation_batches(text.packed_heldout, config.data.batch_size)
  return batches[:: max(1, len(batches) // _BATCHES)]


def long_rows(config: MemoryTextConfig, text: TextData) -> dict:
  """Held-out rows of `test.times` the training length, each of one document.

  Returns:
    ``tokens`` and ``targets``, int32 ``B T``: every target is a byte.

  Raises:
    ValueError: the held-out documents have too few such rows.
  """
  length = config.data.length * config.test.times
  long = [found for found in text.heldout if len(found.text) >= length]

  # The first row of every document, then the second of those that have one.
  places = sorted(
    (row, number)
    for number, document in enumerate(long)
    for row in range(len(document.text) // length)
  )
  if len(places) < config.test.rows:
    raise ValueError(
      f"test: the held-out text has {len(places)} rows of {length} bytes within"
      f" a document, and test.rows={config.test.rows} are wanted; lower"
      " test.rows or test.times, or raise data.heldout_fraction"
    )

  packed = [_packed(text, document, length) for document in long]
  rows = [packed[number][row] for row, number in places[: config.test.rows]]
  stacked = lambda name: np.stack([row[name] for row in rows])
  return {name: stacked(name) for name in ("tokens", "targets")}


def _packed(text: TextData, document: Document, length: int):
  """Packs one document, a boundary first, into rows."""
  tokenizer = text.tokenizer
  ids = tokenizer.encode(document.text)
  return pack([ids], tokenizer.boundary, length)
