"""What the model is trained for, and what it is measured by."""

import dataclasses
import math
import os
from collections.abc import Callable, Mapping, Sequence

import jax
from flax import nnx

from attnjax.data import TextData
from attnjax.models import DecoderLM, decoder_parameters, total
from attnjax.training import cross_entropy
from experiments.language_model.config import LanguageModelConfig

__all__ = ["Heldout", "loss", "make_model"]


def loss(model: DecoderLM, batch: Mapping, key):
  """(nats, tokens) of the next token of every position, summed."""
  del key  # nothing is random
  logits = model(
    batch["tokens"],
    positions=batch["positions"],
    segment_ids=batch["segment_ids"],
  )
  return cross_entropy(logits, batch["targets"], batch["weights"])


@dataclasses.dataclass(frozen=True, eq=False)
class Heldout:
  """The held-out loss, and in bits per byte of text whatever a token is.

  bits per byte = nats per token · tokens / bytes / ln 2.
  """

  evaluate: Callable[..., dict[str, float]]
  batches: Sequence
  tokens: int
  bytes: int

  def __call__(self, model: DecoderLM) -> dict[str, float]:
    """Scalars to record; `loss` chooses the best checkpoint."""
    values = self.evaluate(model, self.batches)
    nats = values["loss"] * self.tokens
    return values | {"bits_per_byte": nats / self.bytes / math.log(2)}


def make_model(config: LanguageModelConfig, text: TextData) -> DecoderLM:
  """A new model, if this machine can hold it while it trains."""
  vocabulary = text.tokenizer.vocabulary_size
  parts = decoder_parameters(config.model, vocabulary)
  print(f"parameters = {total(parts):,}")
  for name, count in parts.items():
    if count:
      print(f"  {name:13}{count:>15,}")
  _check_fits(total(parts))
  make = jax.jit(
    lambda: DecoderLM(config.model, vocabulary, rngs=nnx.Rngs(config.seed))
  )
  return make()


def _check_fits(parameters: int) -> None:
  """Refuses a model whose state alone outgrows the device, before it tries."""
  stats = jax.local_devices()[0].memory_stats() or {}
  memory = stats.get("bytes_limit") or (
    os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
  )
  # Parameters, their gradient and Adam's two averages, float32.
  needed = 16 * parameters
  if needed > memory:
    raise ValueError(
      f"model: its parameters, gradients and optimizer state take"
      f" {needed / 2**30:,.0f} GiB, and a device here has"
      f" {memory / 2**30:,.0f} GiB; choose a smaller preset (--preset=tiny) or"
      " lower --config.model.width or --config.model.depth"
    )
