"""The runs of a sweep: their configs, FLOPs, keys, and training."""

import dataclasses
import functools
import hashlib
import json
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from attnjax.config import decisive, setting
from attnjax.data import (
  ByteTokenizer,
  Packed,
  TextConfig,
  TextData,
  evaluation_batches,
  train_batches,
)
from attnjax.models import DecoderConfig, DecoderLM, decoder_parameters, total
from attnjax.plan import jaxpr_flops
from attnjax.runs import (
  TrainConfig,
  fit,
  make_model,
  next_token_loss,
  trial_arguments,
)
from attnjax.training import OptimizerConfig, make_evaluate
from experiments.scaling.config import ScalingConfig

__all__ = [
  "BYTES",
  "RunConfig",
  "Size",
  "check_fresh",
  "flops_per_token",
  "heldout",
  "key_of",
  "parameters",
  "planned",
  "require_some",
  "run_config",
  "trial",
]

BYTES = ByteTokenizer().vocabulary_size


@dataclasses.dataclass(frozen=True)
class RunConfig:
  """Settings of one run, without those of other runs or of the law.

  So a sweep may be widened, and continued in the same directory.
  """

  model: DecoderConfig
  data: TextConfig
  optimizer: OptimizerConfig
  train: TrainConfig
  heldout_batches: int = setting(128, "held-out batches that count")


@dataclasses.dataclass(frozen=True)
class Size:
  """One cell of the sweep: width M, and number of training steps."""

  width: int
  steps: int


def planned(config: ScalingConfig) -> list[Size]:
  """All cells, the cheapest first: a sweep that is cut short has those."""
  cells = [Size(m, steps) for m in config.widths for steps in config.steps]
  return sorted(
    cells, key=lambda cell: cell.steps * flops_per_token(config, cell.width)
  )


def run_config(config: ScalingConfig, size: Size) -> RunConfig:
  """Config of one run; its schedule ends with its last step.

  A loss read off the middle of a longer schedule is not what so many tokens
  can do: the learning rate is still high there, and a law of such losses has
  another exponent (Hoffmann et al. 2022, arXiv:2203.15556, appendix B).
  """
  rate = config.optimizer.peak_learning_rate
  optimizer = dataclasses.replace(
    config.optimizer,
    peak_learning_rate=rate * (config.rate_width / size.width) ** 0.5,
    warmup_steps=int(config.warmup * size.steps),
  )
  train = dataclasses.replace(config.train, steps=size.steps)
  model = config.model(size.width)
  return RunConfig(model, config.data, optimizer, train, config.heldout_batches)


def key_of(run: RunConfig, text: TextData, seed: int) -> str:
  """Digest of everything that decides a run: the key of its result."""
  parts = (run.model, run.data, run.optimizer, run.train)
  said: dict[str, Any] = {type(part).__name__: decisive(part) for part in parts}
  said |= {"heldout_batches": run.heldout_batches}
  said |= {"text": text.digest, "seed": seed}
  # Not `hash`, which differs from one process to the next.
  digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode())
  return digest.hexdigest()[:16]


def parameters(model: DecoderConfig) -> Mapping[str, int]:
  """Number of parameters: `all`, and `law`, without tables of bytes.

  The law is of the latter, N: at these sizes the table of bytes is a large
  part of a model, and it is not where predictions are made (Kaplan et al.
  2020, arXiv:2001.08361, figure 6).
  """
  parts = decoder_parameters(model, BYTES)
  every = total(parts)
  tables = parts["embedding"] + parts["readout"] + parts["positions"]
  return {"all": every, "law": every - tables}


@functools.cache
def flops_per_token(config: ScalingConfig, width: int) -> float:
  """Model FLOPs of training a token: C / D.

  Thrice the matrix products of the forward pass, as `attnjax.plan` reads them
  off the program: of 6 N a token it differs by the readout, 6 V M, and by
  attention, 12 L M T, which are most of it where models are small.
  """
  model = config.model(width)
  length = config.data.length
  shapes = jax.eval_shape(lambda: DecoderLM(model, BYTES, rngs=nnx.Rngs(0)))
  row = jax.ShapeDtypeStruct((1, length), jnp.int32)
  forward = jaxpr_flops(lambda model, row: model(row), shapes, row)
  # The backward pass has two products for each one of the forward pass.
  return 3 * forward / length


def heldout(config: ScalingConfig, packed: Packed) -> list[Mapping]:
  """Held-out batches, evenly spread over the text: the same for all runs."""
  batches = evaluation_batches(packed, config.data.batch_size)
  count = min(config.heldout_batches, len(batches))
  # Spread, because neighbouring batches may be of one document.
  places = np.linspace(0, len(batches), count, endpoint=False).astype(int)
  return [batches[place] for place in places]


def check_fresh(config: ScalingConfig, text: TextData) -> None:
  """Checks that no run reads a byte twice.

  The law is of tokens that are new: a second reading is worth less than a
  first, and how much less is another law.

  Raises:
    ValueError: the text is too short; names the longest run that fits it.
  """
  tokens = config.data.batch_size * config.data.length
  most = len(text.packed_train) // config.data.batch_size
  if max(config.steps) > most:
    raise ValueError(
      f"steps: expected {most} at most, for the training text has"
      f" {text.train_tokens:,} tokens and a step reads {tokens:,}, got"
      f" {max(config.steps)}; give a larger text with data.path"
    )


def require_some(found: Sequence[dict], workdir: Path) -> None:
  """Raises ValueError if there are no runs to report.

  Raises:
    ValueError: nothing was found and nothing trained, or all of it diverged.
  """
  if not found:
    raise ValueError(
      f"workdir: expected results of these settings in {workdir}, got none;"
      " leave out --noconfig.train_more, or lower"
      " optimizer.peak_learning_rate where runs diverged"
    )


def trial(
  config: ScalingConfig,
  text: TextData,
  size: Size,
  seed: int,
  workdir: Path,
) -> dict[str, Any]:
  """Trains one cell of the sweep; returns its record, as JSON holds it.

  Raises:
    FloatingPointError: training diverges.
  """
  began = time.monotonic()
  run = run_config(config, size)
  data = run.data

  make = lambda: DecoderLM(run.model, BYTES, rngs=nnx.Rngs(seed))
  fitted = fit(
    make_model(make, run.train),
    next_token_loss,
    train_batches(text.packed_train, data.batch_size, data.seed + seed),
    evaluate=make_evaluate(next_token_loss).on(
      heldout(config, text.packed_heldout)
    ),
    **trial_arguments(
      run,
      experiment="scaling",
      variant=f"width{size.width}/steps{size.steps}",
      seed=seed,
      workdir=workdir,
      data={"text": text.digest},
    ),
  )

  tokens = size.steps * data.batch_size * data.length
  counts = parameters(run.model)
  return {
    "width": size.width,
    "steps": size.steps,
    "seed": seed,
    "parameters": counts["law"],
    "all_parameters": counts["all"],
    "tokens": tokens,
    "flops": tokens * flops_per_token(config, size.width),
    # A token is a byte.
    "bits_per_byte": fitted.records[-1]["loss"] / math.log(2),
    "seconds": time.monotonic() - began,
  }
