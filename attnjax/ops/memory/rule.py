"""What a memory is: four choices, and at which points it looks and steps."""

import dataclasses
from typing import Literal

from attnjax.ops.memory.algorithms import Algorithm, gradient_descent
from attnjax.ops.memory.features import Features
from attnjax.ops.memory.objectives import Objective, l2
from attnjax.ops.memory.retentions import Retention, none
from attnjax.ops.memory.structures import Structure, matrix

__all__ = ["Rule"]

_CHOICES = {
  "gradients": ("token", "chunk"),
  "updates": ("token", "chunk"),
  "reads": ("after", "before"),
}


@dataclasses.dataclass(frozen=True)
class Rule:
  """Everything that decides what a memory does with keys, values and gates.

  The memory M is a network whose weights W are written as a sequence is read.
  Each token makes a step down the gradient of its loss ℓ(M(k), v),

      S[t] = η[t] S[t-1] - Σ_j θ[j] ∇ℓ(W; k[j], v[j]),  j = t-window+1 .. t
      A[t] = (1 - α[t]) A[t-1] + step(S[t]),            W[t] = link(A[t])

  with θ the rate, η the momentum and α the decay of `Gates`.

  Args:
    structure: what remembers, M.
    objective: what it is asked to do with a pair, ℓ.
    retention: what it keeps, and link.
    algorithm: how it steps, S and step.
    features: of keys and queries.
    gradients: where ∇ℓ is taken. "token": at the weights before each token,
      W[t-1]; exact, and parallel within a chunk where M is a matrix and ℓ is
      `l2` or `dot`; else a loop over tokens. "chunk": at the weights with which
      the token's chunk began; parallel, and another function: gradients grow
      stale along the chunk.
    updates: "token": a step at every token. "chunk": one at the end of each
      chunk, along the sum of its gradients, with the means of its gates; needs
      gradients="chunk".
    chunk: C >= 1, tokens. With gradients="token" it only says how many tokens
      are computed at once, and changes no result.
    window: how many of the latest tokens a step looks at, >= 1.
    decayed: take the gradient at the decayed weights (1 - α[t]) W[t-1], as
      gated DeltaNet does; needs gradients="token".
    reads: "after" a token's own write, or "before" it.

  Raises:
    ValueError: if choices do not go together, naming them.

  >>> Rule().structure.shapes(2, 3)
  {'map_0': (2, 3)}
  >>> Rule(updates="chunk")
  Traceback (most recent call last):
    ...
  ValueError: Rule: updates='chunk' needs gradients='chunk', got 'token'; ...

  Reference:
    Behrouz et al., "It's All Connected: A Journey Through Test-Time
    Memorization, Attentional Bias, Retention, and Online Optimization", 2025,
    arXiv 2504.13173 (the four choices); Behrouz, Zhong, Mirrokni, "Titans:
    Learning to Memorize at Test Time", 2025, arXiv 2501.00663; the window:
    Behrouz et al., "ATLAS", 2025, arXiv 2505.23735.
  """

  structure: Structure = matrix()
  objective: Objective = l2()
  retention: Retention = none()
  algorithm: Algorithm = gradient_descent()
  features: Features = Features()
  gradients: Literal["token", "chunk"] = "token"
  updates: Literal["token", "chunk"] = "token"
  chunk: int = 64
  window: int = 1
  decayed: bool = False
  reads: Literal["after", "before"] = "after"

  def __post_init__(self):
    for name, choices in _CHOICES.items():
      if getattr(self, name) not in choices:
        raise ValueError(
          f"Rule: {name} must be one of {list(choices)}, got"
          f" {getattr(self, name)!r}"
        )
    for name in ("chunk", "window"):
      if getattr(self, name) < 1:
        raise ValueError(
          f"Rule: {name} must be at least 1 token, got {getattr(self, name)}"
        )
    if self.updates == "chunk" and self.gradients == "token":
      raise ValueError(
        "Rule: updates='chunk' needs gradients='chunk', got 'token'; weights"
        " that do not change within a chunk have one gradient a chunk"
      )
    if self.updates == "chunk" and self.window > 1:
      raise ValueError(
        f"Rule: updates='chunk' steps along a whole chunk, and window is"
        f" {self.window}; leave it at 1"
      )
    if self.decayed and not (
      self.gradients == "token" and self.retention.decays
    ):
      raise ValueError(
        "Rule: decayed=True takes gradients at decayed weights, token by token;"
        " it needs gradients='token' and a retention that decays"
      )
