"""Neural memory: networks whose weights are updated at every token read."""

from attnjax.ops.memory.algorithms import (
  Algorithm,
  gradient_descent,
  momentum,
  muon,
  orthogonalized,
)
from attnjax.ops.memory.gates import Gates, wanted_gates
from attnjax.ops.memory.named_rules import (
  atlas,
  delta_net,
  gated_delta_net,
  kimi_delta_attention,
  lact,
  linear_attention,
  mamba2,
  memora,
  mesa_net,
  moneta,
  titans,
  ttt_linear,
  ttt_mlp,
  yaad,
)
from attnjax.ops.memory.objectives import (
  Objective,
  dot,
  huber,
  l2,
  l_p,
  negative,
)
from attnjax.ops.memory.read_write import read, stream, write
from attnjax.ops.memory.retentions import (
  Retention,
  channel_decay,
  decay,
  kl,
  l_q,
  none,
)
from attnjax.ops.memory.ridge_regression import ridge
from attnjax.ops.memory.rule import Rule
from attnjax.ops.memory.state import MemoryState, init, initial_weights
from attnjax.ops.memory.structures import (
  Features,
  Structure,
  gated_mlp,
  matrix,
  mlp,
  polynomial,
)

__all__ = [
  "Algorithm",
  "Features",
  "Gates",
  "MemoryState",
  "Objective",
  "Retention",
  "Rule",
  "Structure",
  "atlas",
  "channel_decay",
  "decay",
  "delta_net",
  "dot",
  "gated_delta_net",
  "gated_mlp",
  "gradient_descent",
  "huber",
  "init",
  "initial_weights",
  "kimi_delta_attention",
  "kl",
  "l2",
  "l_p",
  "l_q",
  "lact",
  "linear_attention",
  "mamba2",
  "matrix",
  "memora",
  "mesa_net",
  "mlp",
  "momentum",
  "moneta",
  "muon",
  "negative",
  "none",
  "orthogonalized",
  "polynomial",
  "read",
  "ridge",
  "stream",
  "titans",
  "ttt_linear",
  "ttt_mlp",
  "wanted_gates",
  "write",
  "yaad",
]
