"""Model, held-out evaluation in bits per byte, and checks of size."""

import dataclasses
import math
import os
from collections.abc import Callable, Sequence

import jax
from flax import nnx

from attnjax import runs, training
from attnjax.config import decisive
from attnjax.data import TextData, evaluation_batches
from attnjax.models import (
  DecoderConfig,
  DecoderLM,
  decoder_parameters,
  total,
)
from attnjax.runs import MeshConfig, next_token_loss
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
  """Held-out loss, also in bits per byte, which compares across tokenizers.

      bits per byte = nats per token · tokens / (bytes · ln 2)

  Args:
    evaluate: model, batches -> metrics, `loss` in nats per token among them.
    batches: of held-out text.
    tokens: number of tokens predicted.
    bytes: number of bytes that they stand for.
  """

  evaluate: Callable[..., dict[str, float]]
  batches: Sequence
  tokens: int
  bytes: int

  @property
  def names(self) -> tuple[str, ...]:
    """Names of the metrics of every evaluation."""
    return "loss", "perplexity", "weight", "bits_per_byte"

  def __call__(self, model: DecoderLM) -> dict[str, float]:
    """Scalars to record; `loss` chooses the best checkpoint."""
    values = self.evaluate(model, self.batches)
    nats = values["loss"] * self.tokens
    return values | {"bits_per_byte": nats / self.bytes / math.log(2)}


def heldout(config: LanguageModelConfig, text: TextData) -> Heldout:
  """The evaluation on the held-out text, in the dtype of training."""
  return Heldout(
    training.make_evaluate(next_token_loss, config.train.compute_dtype),
    evaluation_batches(text.packed_heldout, config.data.batch_size),
    text.heldout_tokens,
    text.heldout_bytes,
  )


def identity(
  config: LanguageModelConfig, text: TextData, start: str | None = None
) -> dict:
  """Settings that decide a run; checkpoints resume where these are equal.

  The sample and the yardsticks come after training: they may change.

  Args:
    config: of the run.
    text: of the run.
    start: digest of the published model; None: a new one.
  """
  leaves = decisive(config)
  del leaves["sample"], leaves["yardsticks"]
  if not config.lora.rank:
    del leaves["lora"]
  if start is not None:
    # The files say what the model is, and the flags nothing.
    leaves["model"] = start
  return leaves | {"text": text.digest}


def check_fits(
  model: DecoderConfig, vocabulary: int, mesh: MeshConfig, remedy: str
) -> None:
  """Checks that parameters, gradients and optimizer state fit a device.

  Raises:
    ValueError: names the sizes and the remedy.
  """
  # A CPU has no statistics: its memory is that of the machine.
  stats = jax.local_devices()[0].memory_stats() or {}
  memory = stats.get("bytes_limit") or (
    os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
  )
  # A lower bound: of each parameter there are four float32, itself, its
  # gradient and Adam's two averages.
  least = 16 * total(decoder_parameters(model, vocabulary))
  # These two axes share the parameters out; `data` and `sequence` do not.
  least //= mesh.fsdp * mesh.tensor

  if least > memory:
    raise ValueError(
      f"model: its parameters, gradients and optimizer state take more than"
      f" {least / 2**30:,.0f} GiB, and a device here has"
      f" {memory / 2**30:,.0f} GiB; {remedy}"
    )


def make_model(config: LanguageModelConfig, vocabulary: int) -> DecoderLM:
  """A new model; prints its number of parameters, part by part."""
  parts = decoder_parameters(config.model, vocabulary)
  print(f"parameters = {total(parts):,}")
  for name, count in parts.items():
    if count:
      print(f"  {name:13}{count:>15,}")
  make = lambda: DecoderLM(config.model, vocabulary, rngs=nnx.Rngs(config.seed))
  return runs.make_model(make, config.train)
