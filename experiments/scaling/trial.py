"""One training run of the sweep, and what comes out of it."""

import math
import time
from pathlib import Path
from typing import Any

from flax import nnx

from attnjax.data import TextData, train_batches
from attnjax.models import DecoderLM
from experiments.next_token import next_token_loss
from experiments.runs import fit_run, make_model
from experiments.scaling import sweep
from experiments.scaling.config import ScalingConfig

__all__ = ["trial"]


def trial(
  config: ScalingConfig,
  text: TextData,
  size: sweep.Size,
  seed: int,
  workdir: Path,
) -> dict[str, Any]:
  """What a size trained for so long reached, as JSON holds it.

  Raises:
    FloatingPointError: if training diverges.
  """
  began = time.monotonic()
  run = sweep.run_config(config, size)
  data = run.data
  make = lambda: DecoderLM(run.model, sweep.BYTES, rngs=nnx.Rngs(seed))
  fitted = fit_run(
    run,
    make_model(make, run.train),
    next_token_loss,
    train_batches(text.packed_train, data.batch_size, data.seed + seed),
    sweep.heldout(config, text.packed_heldout),
    experiment="scaling",
    variant=f"width{size.width}/steps{size.steps}",
    seed=seed,
    workdir=workdir,
    data={"text": text.digest},
  )
  tokens = size.steps * data.batch_size * data.length
  counts = sweep.parameters(run.model)
  return {
    "width": size.width,
    "steps": size.steps,
    "seed": seed,
    "parameters": counts["law"],
    "all_parameters": counts["all"],
    "tokens": tokens,
    "flops": tokens * sweep.flops_per_token(config, size.width),
    # A token is a byte.
    "bits_per_byte": fitted.records[-1]["loss"] / math.log(2),
    "seconds": time.monotonic() - began,
  }
