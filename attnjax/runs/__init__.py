"""Runs: a model trained by flags, on any mesh, in any number of processes.

Joins models, sharded attention and training. A program of your own, outside of
this repository too, is a config, a model and a loss:

    def main(config, workdir):
      make = lambda: Model(config.model, rngs=nnx.Rngs(0))
      model = runs.make_model(make, config.train)
      runs.fit(model, loss, batches, workdir=workdir, experiment="mine",
        identity=attnjax.config.decisive(config),
        optimizer=config.optimizer, train=config.train)

    runs.run(main, {"tiny": Config}, experiment="mine")

`--config.train.mesh.sequence=4 --config.train.mesh.attention=ring` then shards
its tokens, if the model has the method of `TakesAttention`.
"""

from attnjax.moved import forward_names
from attnjax.runs.allocation import keep_freed_memory
from attnjax.runs.attention import (
  MeshAttention,
  ShardedLoss,
  TakesAttention,
  loss_on,
)
from attnjax.runs.attention_watch import AttentionWatch
from attnjax.runs.config import FitConfig, TrainConfig, what_decides
from attnjax.runs.entry import processes_of, run
from attnjax.runs.fitting import Fitted, fit, make_model
from attnjax.runs.mesh import MeshConfig
from attnjax.runs.next_token import (
  BATCH_DTYPES,
  abstract_batch,
  next_token_loss,
)
from attnjax.runs.planned_step import PlannedStep, placed, planned_step
from attnjax.runs.results import measure_once, spread, table, write_results
from attnjax.runs.trials import (
  by_seed,
  run_folder,
  train_and_measure,
  trial_arguments,
)

__all__ = [
  "BATCH_DTYPES",
  "AttentionWatch",
  "FitConfig",
  "Fitted",
  "MeshAttention",
  "MeshConfig",
  "PlannedStep",
  "ShardedLoss",
  "TakesAttention",
  "TrainConfig",
  "abstract_batch",
  "by_seed",
  "fit",
  "keep_freed_memory",
  "loss_on",
  "make_model",
  "measure_once",
  "next_token_loss",
  "placed",
  "planned_step",
  "processes_of",
  "run",
  "run_folder",
  "spread",
  "table",
  "train_and_measure",
  "trial_arguments",
  "what_decides",
  "write_results",
]


# Names of earlier versions, with a `DeprecationWarning`.
__getattr__ = forward_names(__name__)
