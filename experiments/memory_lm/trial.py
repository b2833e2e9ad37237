"""One training run, and what comes out of it on long rows."""

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from attnjax.config import to_dict
from attnjax.data import TextData, train_batches
from attnjax.models import MemoryLM
from experiments import memory_models
from experiments.memory_lm import measure, task
from experiments.memory_lm.config import MemoryTextConfig
from experiments.results import measured
from experiments.runs import fit_run, run_folder

__all__ = ["trial"]


def trial(
  config: MemoryTextConfig,
  text: TextData,
  rows: Mapping[str, np.ndarray],
  variant: str,
  seed: int,
  workdir: Path,
) -> dict:
  """The measures of a variant, trained with a seed, as JSON holds them.

  Raises:
    FloatingPointError: if training diverges.
  """
  began = time.monotonic()
  data, vocabulary = config.data, text.tokenizer.vocabulary_size
  sized = memory_models.fitted(
    config.model,
    memory_models.ARCHITECTURES[variant],
    vocabulary=vocabulary,
    parameters=config.parameters,
  )
  fitted = fit_run(
    config,
    memory_models.make(sized, vocabulary, seed, config.train),
    task.loss,
    train_batches(text.packed_train, data.batch_size, data.seed + seed),
    task.heldout(config, text),
    experiment="memory_lm",
    variant=variant,
    seed=seed,
    workdir=workdir,
    data={"text": text.digest, "model": to_dict(sized)},
  )
  seconds = time.monotonic() - began
  return measured(
    run_folder(workdir, variant, seed) / "measures.json",
    {"test": to_dict(config.test)},
    lambda: {
      "records": fitted.records,
      "seconds": seconds,
      **_read(config, fitted.params, rows),
      "parameters": memory_models.count(sized, vocabulary),
    },
  )


def _read(
  config: MemoryTextConfig, model: MemoryLM, rows: Mapping[str, np.ndarray]
) -> dict:
  """What a model makes of long rows, and what it carries meanwhile."""
  ends = config.data.length, config.data.length * config.test.times
  sizes = memory_models.state_bytes(model, ends)
  return {
    "bytes": {str(length): size for length, size in sizes.items()},
    "read": _means(config, measure.bits(config, model, rows)),
    "restarted": _means(config, measure.restarted_bits(config, model, rows)),
  }


def _means(config: MemoryTextConfig, bits: np.ndarray) -> list[list[float]]:
  """Of every row the mean of every octave."""
  spans = measure.octaves(config)
  return [[float(row[a:b].mean()) for a, b in spans] for row in bits]
