"""`Rule`: the update rule of a neural memory.

A rule holds the network of the memory, the loss that a write descends, the
optimizer, the decay, and at which weights gradients are taken.
"""

import dataclasses
from typing import Literal

from attnjax.moved import forward_names
from attnjax.ops.memory.algorithms import Algorithm, gradient_descent
from attnjax.ops.memory.objectives import Objective, dot, l2
from attnjax.ops.memory.retentions import Retention, decay, none
from attnjax.ops.memory.structures import Features, Structure, matrix

__all__ = ["Rule"]

# `Literal` is checked by type checkers only; these are checked at run time.
_CHOICES = {
  "gradients": ("token", "chunk"),
  "updates": ("token", "chunk"),
  "reads": ("after", "before"),
}


@dataclasses.dataclass(frozen=True)
class Rule:
  """The update rule of a memory: a function of keys, values and gates.

  The memory M is a network whose weights W change with each token.
  Each token makes a step down the gradient of its loss ℓ(M(k), v),

      S[t] = η[t] S[t-1] - Σ_j θ[j] ∇ℓ(W; k[j], v[j]),  j = t-window+1 .. t
      A[t] = (1 - α[t]) A[t-1] + step(S[t]),            W[t] = link(A[t])

  with θ the rate, η the momentum and α the decay of `Gates`.

  Args:
    structure: the network M.
    objective: the loss ℓ of an output and a value.
    retention: how the accumulator decays, and link.
    algorithm: how it steps, S and step.
    features: of keys and queries, φ.
    gradients: where ∇ℓ is taken. "token": at the weights before each token,
      W[t-1]; parallel within a chunk where M is a matrix and ℓ is `l2` or
      `dot`, else a loop over tokens. "chunk": at the weights at the start of
      the token's chunk; parallel, but another function, because gradients do
      not see earlier writes of the chunk.
    updates: "token": a step at every token. "chunk": one at the end of each
      chunk, along the sum of its gradients, with the means of its gates; needs
      gradients="chunk".
    chunk: C >= 1, tokens. With gradients="token" it is only the number of
      tokens computed at once, and changes no result.
    window: how many of the latest tokens a step sums gradients of, >= 1.
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

    # Combinations without a definition.
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
    if self.structure.solves and not self._sums():
      raise ValueError(
        "Rule: ridge() solves with sums of what was told, which may decay; it"
        " needs dot(), gradients='token', a window of 1, none() or decay(), and"
        " neither decayed=True, momentum nor Muon"
      )
    if self.retention.by_channel and not self._decays_by_channel():
      raise ValueError(
        "Rule: channel_decay() is of the features of a key, one matrix and"
        " steps at every token; it needs matrix(), an objective of l2() or"
        " dot(), gradients='token', a window of 1, and neither momentum, Muon"
        " nor polynomial features"
      )

  def _sums(self) -> bool:
    """Whether weights are decayed sums of what tokens add."""
    return (
      self.objective == dot()
      and self.retention in (none(), decay())
      and self.algorithm == gradient_descent()
      and self.gradients == "token"
      and self.window == 1
      and not self.decayed
    )

  def _decays_by_channel(self) -> bool:
    """Whether a decay for each feature of the keys has a meaning."""
    return (
      self.structure.is_linear
      and self.objective.slopes is not None
      and self.algorithm == gradient_descent()
      and self.gradients == "token"
      and self.window == self.features.degree == 1
    )


# Names of earlier versions, with a `DeprecationWarning`.
__getattr__ = forward_names(__name__)
