"""What the model is trained for, and what it is measured by."""

import dataclasses
import math
import os
from collections.abc import Callable, Sequence

import jax
from flax import nnx

from attnjax import runs, training
from attnjax.config import decisive
from attnjax.data import TextData, evaluation_batches
from attnjax.models import DecoderLM, decoder_parameters, total
from attnjax.runs import next_token_loss
from experiments.language_model.config import LanguageModelConfig

__all__ = [
  "Heldout",
  "check_fits",
  "heldout",
  "identity",
  "make_model",
]


@dataclasses.dataclass(frozen=True, eq=False)
class Heldout:
  """The held-out loss, and in bits per byte of text whatever a token is.

  bits per byte = nats per token · tokens / bytes / ln 2.
  """

  evaluate: Callable[..., dict[str, float]]
  batches: Sequence
  tokens: int
  bytes: int

  @property
  def names(self) -> tuple[str, ...]:
    """Of the metrics that every evaluation has."""
    return "loss", "perplexity", "weight", "bits_per_byte"

  def __call__(self, model: DecoderLM) -> dict[str, float]:
    """Scalars to record; `loss` chooses the best checkpoint."""
    values = self.evaluate(model, self.batches)
    nats = values["loss"] * self.tokens
    return values | {"bits_per_byte": nats / self.bytes / math.log(2)}


def heldout(config: LanguageModelConfig, text: TextData) -> Heldout:
  """The evaluation of a config on its held-out text."""
  return Heldout(
    training.make_evaluate(next_token_loss, config.train.compute_dtype),
    evaluation_batches(text.packed_heldout, config.data.batch_size),
    text.heldout_tokens,
    text.heldout_bytes,
  )


def identity(config: LanguageModelConfig, text: TextData) -> dict:
  """What decides how a run trains, and whose checkpoints it may go on from.

  The sample and the yardsticks come after: they may change.
  """
  leaves = decisive(config)
  del leaves["sample"], leaves["yardsticks"]
  return leaves | {"text": text.digest}


def check_fits(config: LanguageModelConfig) -> None:
  """Refuses a model whose state alone outgrows a device, before any work.

  Raises:
    ValueError: names the sizes and the remedy.
  """
  stats = jax.local_devices()[0].memory_stats() or {}
  memory = stats.get("bytes_limit") or (
    os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
  )
  # Every vocabulary has bytes. Of each parameter there are four float32:
  # itself, its gradient and Adam's two averages.
  least = 16 * total(decoder_parameters(config.model, 257))
  least //= config.train.mesh.fsdp * config.train.mesh.tensor

  if least > memory:
    raise ValueError(
      f"model: its parameters, gradients and optimizer state take more than"
      f" {least / 2**30:,.0f} GiB, and a device here has"
      f" {memory / 2**30:,.0f} GiB; choose a smaller preset (--preset=tiny) or"
      " lower --config.model.width or --config.model.depth"
    )


def make_model(config: LanguageModelConfig, vocabulary: int) -> DecoderLM:
  """A new model, and its size in print."""
  parts = decoder_parameters(config.model, vocabulary)
  print(f"parameters = {total(parts):,}")
  for name, count in parts.items():
    if count:
      print(f"  {name:13}{count:>15,}")
  make = lambda: DecoderLM(config.model, vocabulary, rngs=nnx.Rngs(config.seed))
  return runs.make_model(make, config.train)
