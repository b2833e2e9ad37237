"""One training run, and its measures on long rows."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from attnjax.config import to_dict
from attnjax.data import TextData, train_batches
from attnjax.models import MemoryLM
from attnjax.runs import fit, run_folder, train_and_measure, trial_arguments
from attnjax.training import make_evaluate
from experiments import memory_models
from experiments.memory_lm import measure, task
from experiments.memory_lm.config import MemoryTextConfig

__all__ = ["trial"]


def trial(
  config: MemoryTextConfig,
  text: TextData,
  rows: Mapping[str, np.ndarray],
  variant: str,
  seed: int,
  workdir: Path,
) -> dict:
  """Trains a variant with a seed; returns its measures, as JSON holds them.

  Raises:
    FloatingPointError: training diverges.
  """
  data, vocabulary = config.data, text.tokenizer.vocabulary_size
  sized = memory_models.fitted(
    config.model,
    memory_models.ARCHITECTURES[variant],
    vocabulary=vocabulary,
    parameters=config.parameters,
  )
  parameters = memory_models.count(sized, vocabulary)

  return train_and_measure(
    lambda: fit(
      memory_models.make(sized, vocabulary, seed, config.train),
      task.loss,
      train_batches(text.packed_train, data.batch_size, data.seed + seed),
      evaluate=make_evaluate(task.loss).on(task.heldout(config, text)),
      **trial_arguments(
        config,
        experiment="memory_lm",
        variant=variant,
        seed=seed,
        workdir=workdir,
        # The model as sized: `parameters` decides its feed-forward width.
        data={"text": text.digest, "model": to_dict(sized)},
      ),
    ),
    lambda model: _read(config, model, rows) | {"parameters": parameters},
    folder=run_folder(workdir, variant, seed),
    test={"test": to_dict(config.test)},
  )


def _read(
  config: MemoryTextConfig, model: MemoryLM, rows: Mapping[str, np.ndarray]
) -> dict:
  """Bits per byte of long rows, read both ways, and bytes of the state."""
  ends = config.data.length, config.data.length * config.test.times
  sizes = memory_models.state_bytes(model, ends)
  return {
    "bytes": {str(length): size for length, size in sizes.items()},
    "read": _means(config, measure.bits(config, model, rows)),
    "restarted": _means(config, measure.restarted_bits(config, model, rows)),
  }


def _means(config: MemoryTextConfig, bits: np.ndarray) -> list[list[float]]:
  """Mean bits of each row in each octave."""
  spans = measure.octaves(config)
  return [[float(row[a:b].mean()) for a, b in spans] for row in bits]
