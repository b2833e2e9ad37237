"""Loss and gradient of the language model: ours, Flax's, PyTorch's, timed."""

import dataclasses
import functools
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import attnjax
from attnjax.data import load_text, train_batches
from attnjax.models import DecoderConfig, DecoderLM
from attnjax.runs import next_token_loss
from experiments.attention_speed import flax_model
from experiments.attention_speed.config import (
  MODEL_CONTENDERS,
  ModelSpeedConfig,
  listed,
)
from experiments.timing.jax_timing import prepare_jax
from experiments.timing.records import record
from experiments.timing.rounds import Prepare, Prepared, Refused, measure
from experiments.timing.torch_process import TorchChild

__all__ = ["peers_cannot", "records_of_model", "weights_of"]


@dataclasses.dataclass(frozen=True)
class Attend:
  """`attnjax.attend` with a fixed implementation."""

  implementation: str | None

  def __call__(self, query, key, value, **options):
    """Attends."""
    return attnjax.attend(
      query, key, value, implementation=self.implementation, **options
    )


def weights_of(model: DecoderLM) -> dict[str, np.ndarray]:
  """Parameters of a model as numpy arrays, by short names.

  Those of the blocks have a leading axis of layers.
  """
  blocks = model.blocks
  named = {
    "embed": model.embed.embedding,
    "norm": model.norm.scale,
    "attention_norm": blocks.attention_norm.scale,
    "query": blocks.attention.query.kernel,
    "key": blocks.attention.key.kernel,
    "value": blocks.attention.value.kernel,
    "output": blocks.attention.output.kernel,
    "feed_forward_norm": blocks.feed_forward_norm.scale,
    "up": blocks.feed_forward.up.kernel,
    "down": blocks.feed_forward.down.kernel,
  }

  return {name: np.asarray(param[...]) for name, param in named.items()}


def records_of_model(
  config: ModelSpeedConfig, child: TorchChild
) -> list[dict[str, Any]]:
  """Measures every contender on the first batch; returns a record each."""
  text = load_text(config.data)
  batches = train_batches(
    text.packed_train, config.data.batch_size, config.data.seed
  )
  # numpy, for PyTorch gets the same arrays.
  batch = {name: np.asarray(array) for name, array in batches(0).items()}
  tokens = float(batch["weights"].sum())
  vocabulary = text.tokenizer.vocabulary_size

  with tempfile.TemporaryDirectory() as folder:
    prepares = _prepares(config, child, batch, vocabulary, Path(folder))
    rows = measure(prepares, config.rounds, ours="attnjax")

  return [
    record(row, tokens_per_second=tokens / row.seconds if row.seconds else None)
    for row in rows
  ]


def _prepares(
  config: ModelSpeedConfig,
  child: TorchChild,
  batch: Mapping[str, np.ndarray],
  vocabulary: int,
  folder: Path,
) -> dict[str, Prepare]:
  """Name -> what compiles and warms up that contender; all of one model."""
  make = functools.partial(_new_model, config, vocabulary)
  ours = make(config.implementation)
  weights = weights_of(ours)

  every: dict[str, Prepare] = {
    "attnjax": lambda: _ours(config, ours, batch),
    # Dense attention, in our model: tells attention from the rest.
    "attnjax_reference": lambda: _ours(config, make("reference"), batch),
    "flax": lambda: _flax(config, batch, weights),
    "torch_eager": lambda: _torch(
      config, child, batch, weights, folder / "arrays.npz"
    ),
  }
  names = listed(config.contenders, "contenders", MODEL_CONTENDERS)
  return {name: every[name] for name in names}


def _new_model(
  config: ModelSpeedConfig, vocabulary: int, implementation: str | None
) -> DecoderLM:
  """A decoder whose attention is an implementation of `attnjax.attend`."""
  # Every contender starts from the same parameters.
  make = lambda: DecoderLM(
    config.model,
    vocabulary,
    attend=Attend(implementation),
    rngs=nnx.Rngs(config.seed),
  )
  return jax.jit(make)()


def _ours(config, model, batch) -> Prepared | Refused:
  """Prepares our model, with the loss that the language model trains by."""

  def mean(model, batch):
    total, weight = next_token_loss(model, batch, None)
    return total / weight

  return _prepare(config, mean, model, batch)


def _flax(config, batch, weights) -> Prepared | Refused:
  """Prepares the same model with `flax.nnx.MultiHeadAttention`."""
  refused = peers_cannot(config.model)
  if refused is not None:
    return refused
  model = flax_model.make(config.model, weights)
  return _prepare(config, flax_model.loss, model, batch, note="dense mask")


def _torch(config, child, batch, weights, path: Path) -> Prepared | Refused:
  """Prepares the same model in PyTorch, eager."""
  refused = peers_cannot(config.model)
  if refused is not None:
    return refused

  # Parameters and batch are too large for a line of JSON.
  np.savez(path, **weights, **batch)
  module = "experiments.attention_speed.torch_model"
  return child.prepare(module, arrays=str(path), window=config.model.window)


def _prepare(config, loss, model, batch, note="") -> Prepared | Refused:
  """Compiles a loss with its gradient; the optimizer is left out."""
  return prepare_jax(
    jax.value_and_grad(loss),
    (model, jax.tree.map(jnp.asarray, dict(batch))),
    limit_gb=config.memory_limit_gb,
    witness=_witness,
    note=note,
  )


def _witness(result) -> list[list[float]]:
  """Loss, norm of the whole gradient, and of that of the embedding."""
  # Gradients leaf by leaf would not compare: PyTorch's are ordered otherwise.
  loss, gradient = result
  squares = [float(np.square(x).sum()) for x in jax.tree.leaves(gradient)]
  embed = np.asarray(gradient.embed.embedding[...])
  return [
    [float(loss)],
    [float(np.sqrt(sum(squares)))],
    [float(np.sqrt(np.square(embed).sum()))],
  ]


def peers_cannot(config: DecoderConfig) -> Refused | None:
  """The refusal of a decoder that the peers are not written for, or None."""
  # What `flax_model` and `torch_model` build, in the words of DecoderConfig.
  wanted = {
    "activation": "squared_relu",
    "norm": "rms",
    "use_bias": False,
    "positions": "rotary",
    "tied": True,
    "remat": False,
  }

  for name, value in wanted.items():
    if getattr(config, name) != value:
      return Refused(f"cannot: the peers are written for {name}={value}")
  return None
