"""Training of any pytree: state, losses, step, checkpoints and the loop."""

from attnjax.moved import forward_names
from attnjax.training.checkpoint import CheckpointConfig, Checkpoints, Restored
from attnjax.training.cluster import ProcessesConfig
from attnjax.training.evaluation import make_evaluate
from attnjax.training.global_batches import GlobalBatches, check_shares
from attnjax.training.loop import LoopConfig, train
from attnjax.training.losses import cross_entropy
from attnjax.training.metrics import Metrics, read_metrics
from attnjax.training.observation import Observation
from attnjax.training.optimizer import (
  OptimizerConfig,
  decay_mask,
  schedule,
)
from attnjax.training.optimizer import make as make_optimizer
from attnjax.training.partition import (
  AXES,
  gather_tree,
  initialise,
  shard_tree,
  shardings,
)
from attnjax.training.processes import (
  from_primary,
  joined,
  require_agreement,
)
from attnjax.training.progress import Progress, Throughput
from attnjax.training.state import TrainState, step_key
from attnjax.training.state import init as init_state
from attnjax.training.step import jit_step, make_step, pmap_step
from attnjax.training.step_trace import StepTrace
from attnjax.training.workdir import claim as claim_workdir
from attnjax.training.workdir import probe_workdir

__all__ = [
  "AXES",
  "CheckpointConfig",
  "Checkpoints",
  "GlobalBatches",
  "LoopConfig",
  "Metrics",
  "Observation",
  "OptimizerConfig",
  "ProcessesConfig",
  "Progress",
  "Restored",
  "StepTrace",
  "Throughput",
  "TrainState",
  "check_shares",
  "claim_workdir",
  "cross_entropy",
  "decay_mask",
  "from_primary",
  "gather_tree",
  "init_state",
  "initialise",
  "jit_step",
  "joined",
  "make_evaluate",
  "make_optimizer",
  "make_step",
  "pmap_step",
  "probe_workdir",
  "read_metrics",
  "require_agreement",
  "schedule",
  "shard_tree",
  "shardings",
  "step_key",
  "train",
]

# Of the names that are in `attnjax.runs` now.
__getattr__ = forward_names(__name__)
