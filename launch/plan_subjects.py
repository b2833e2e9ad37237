"""Experiments whose step can be planned: model, loss, batch and FLOPs."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from attnjax.data import ByteTokenizer
from attnjax.models import DecoderLM, MemoryLM
from attnjax.plan import jaxpr_flops
from attnjax.typing import PyTree

__all__ = ["EXPERIMENTS", "Subject"]

BYTES = ByteTokenizer().vocabulary_size


@dataclasses.dataclass(frozen=True, eq=False)
class Subject:
  """Model, loss and batch shapes of an experiment, for a plan.

  Args:
    name: shown in the plan.
    config: of the experiment; has `data`, `optimizer` and `train`.
    make_model: nothing -> a new model; called for its shapes alone.
    loss: as for `training.make_step`.
    batch: name -> dtype of the arrays ``B T`` of a batch.
    model_flops: (model's shapes, rows) -> arithmetic of a training step.
    seen: share of the pairs of tokens that the mask shows, where tiles of
      attention are looked up when the program runs; None where they are not.
  """

  name: str
  config: Any
  make_model: Callable[[], nnx.Module]
  loss: Callable
  batch: Mapping[str, Any]
  model_flops: Callable[[Any, int], float]
  seen: float | None = None


def _language_model(config: Any) -> Subject:
  """The `Subject` of a decoder on text."""
  from attnjax.runs import BATCH_DTYPES, next_token_loss

  if config.start_from is not None or config.lora.rank:
    raise ValueError(
      "start_from: a step that fine-tunes a published model is not planned;"
      " leave it and lora.rank out, to plan a new model of the same sizes"
    )
  data = config.data
  words = data.vocabulary if data.tokenizer == "bpe" else BYTES

  sizes = config.model
  window = data.length if sizes.window is None else sizes.window
  # A query sees itself and `window` keys before it; the first ones see fewer.
  near = min(window + 1, data.length)
  pairs = near * (near + 1) // 2 + (data.length - near) * near

  def model_flops(model: PyTree, rows: int) -> float:
    """6 FLOPs a weight and token, plus attention over the visible pairs."""
    # Stacked over layers: matrices have three axes, biases and scales two.
    weights = sum(
      leaf.size for leaf in jax.tree.leaves(model.blocks) if leaf.ndim > 2
    )
    weights += words * sizes.width  # the readout
    width = sizes.head_width or sizes.width // sizes.heads
    # A pair is met in 2 products of width D, each twice more backward.
    attention = 12 * sizes.depth * sizes.heads * width * pairs
    return float(rows * (6 * weights * data.length + attention))

  return Subject(
    name="language_model",
    config=config,
    make_model=lambda: DecoderLM(config.model, words, rngs=nnx.Rngs(0)),
    loss=next_token_loss,
    batch=BATCH_DTYPES,
    model_flops=model_flops,
    seen=pairs / data.length**2,
  )


def _memory_lm(config: Any) -> Subject:
  """The `Subject` of a memory model; the config names one variant."""
  from experiments import memory_models
  from experiments.memory_lm import task

  # Each variant is a model of its own, and a plan is of one program.
  if len(config.variants) != 1:
    raise ValueError(
      f"variants: expected one to plan, got {', '.join(config.variants)}; give"
      " --config.variants=MAC"
    )
  (variant,) = config.variants
  model = memory_models.fitted(
    config.model,
    memory_models.ARCHITECTURES[variant],
    vocabulary=BYTES,
    parameters=config.parameters,
  )
  make = lambda: MemoryLM(model, BYTES, rngs=nnx.Rngs(0))

  def model_flops(shapes: PyTree, rows: int) -> float:
    """Three times the FLOPs of the forward pass, counted in its jaxpr."""
    row = jax.ShapeDtypeStruct((1, config.data.length), jnp.int32)
    forward = jaxpr_flops(lambda model, row: model(row), shapes, row)
    return 3 * rows * forward

  return Subject(
    name=f"memory_lm, {variant}",
    config=config,
    make_model=make,
    loss=task.loss,
    batch={
      "tokens": jnp.int32,
      "targets": jnp.int32,
      "weights": jnp.float32,
    },
    model_flops=model_flops,
  )


# Experiments whose step can be planned.
EXPERIMENTS: dict[str, Callable[[Any], Subject]] = {
  "language_model": _language_model,
  "memory_lm": _memory_lm,
}
