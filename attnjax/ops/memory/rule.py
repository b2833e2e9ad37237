"""Update rules of neural memories: `Rule`, and the published ones by name.

A rule holds the network of the memory, the loss that a write descends, the
optimizer, the decay, and at which weights gradients are taken.
"""

import dataclasses
from typing import Literal

from attnjax.ops.memory.algorithms import (
  Algorithm,
  gradient_descent,
  momentum,
  muon,
)
from attnjax.ops.memory.objectives import Objective, dot, huber, l2, l_p
from attnjax.ops.memory.retentions import Retention, decay, kl, l_q, none
from attnjax.ops.memory.structures import (
  Features,
  Structure,
  gated_mlp,
  matrix,
  mlp,
  polynomial,
)

__all__ = [
  "Rule",
  "atlas",
  "delta_net",
  "gated_delta_net",
  "lact",
  "linear_attention",
  "memora",
  "moneta",
  "titans",
  "ttt_linear",
  "ttt_mlp",
  "yaad",
]

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


def linear_attention(chunk: int = 64) -> Rule:
  """Linear attention, W[t] = W[t-1] + θ[t] k[t] ⊗ v[t].

  Args:
    chunk: tokens computed at once.

  >>> from attnjax.ops.memory.objectives import dot
  >>> linear_attention().objective == dot()
  True

  Reference:
    Katharopoulos et al., "Transformers are RNNs", 2020, arXiv 2006.16236,
    without its normaliser.
  """
  return Rule(objective=dot(), chunk=chunk)


def delta_net(chunk: int = 64) -> Rule:
  """The delta rule, W[t] = W[t-1] + θ[t] k[t] ⊗ (v[t] - k[t] W[t-1]).

  Args:
    chunk: tokens computed at once.

  >>> delta_net().retention.decays
  False

  Reference:
    Yang et al., "Parallelizing Linear Transformers with the Delta Rule over
    Sequence Length", 2024, arXiv 2406.06484.
  """
  return Rule(chunk=chunk)


def gated_delta_net(chunk: int = 64) -> Rule:
  """The delta rule with decay.

      W' = (1 - α[t]) W[t-1],   W[t] = W' + θ[t] k[t] ⊗ (v[t] - k[t] W')

  The gradient is taken at the decayed weights, which Titans does not do.

  Args:
    chunk: tokens computed at once.

  >>> gated_delta_net().decayed
  True

  Reference:
    Yang, Kautz, Hatamizadeh, "Gated Delta Networks: Improving Mamba2 with Delta
    Rule", 2024, arXiv 2412.06464.
  """
  # Without `decayed` it would be another rule, which corrects the prediction of
  # the weights before decay.
  return Rule(retention=decay(), decayed=True, chunk=chunk)


def ttt_linear(chunk: int = 16) -> Rule:
  """TTT-Linear: a matrix with a residual, gradients at the chunk's start.

  Args:
    chunk: C, tokens whose gradients are taken at one point.

  >>> ttt_linear().structure.residual
  True

  Reference:
    Sun et al., "Learning to (Learn at Test Time): RNNs with Expressive Hidden
    States", 2024, arXiv 2407.04620.
  """
  # 16 is the mini-batch of the TTT paper.
  return Rule(matrix(residual=True), gradients="chunk", chunk=chunk)


def ttt_mlp(chunk: int = 16, expansion: int = 4) -> Rule:
  """TTT-MLP: `ttt_linear` with a perceptron of two maps.

  Args:
    chunk: C, tokens whose gradients are taken at one point.
    expansion: hidden width in units of D.

  >>> ttt_mlp().structure.depth
  2

  Reference:
    Sun et al., "Learning to (Learn at Test Time)", 2024, arXiv 2407.04620.
  """
  structure = mlp(2, expansion, residual=True)
  return Rule(structure, gradients="chunk", chunk=chunk)


def titans(chunk: int = 64, depth: int = 2, expansion: int = 4) -> Rule:
  """The long-term memory of Titans: momentum, decay, a perceptron.

  Args:
    chunk: C, tokens whose gradients are taken at one point.
    depth: L_M, maps of the perceptron, >= 1.
    expansion: hidden width in units of D.

  >>> rule = titans()
  >>> rule.algorithm.has_momentum, rule.retention.decays
  (True, True)

  Reference:
    Behrouz, Zhong, Mirrokni, "Titans: Learning to Memorize at Test Time", 2025,
    arXiv 2501.00663, section 3.
  """
  return Rule(
    mlp(depth, expansion),
    l2(),
    decay(),
    momentum(),
    gradients="chunk",
    chunk=chunk,
  )


def moneta(chunk: int = 64, p: float = 3.0, q: float = 4.0) -> Rule:
  """Moneta: an l_p objective, weights normalised by their l_q norm.

  Args:
    chunk: C, tokens whose gradients are taken at one point.
    p: of the objective.
    q: of the norm.

  >>> moneta().objective
  _Lp(p=3.0)

  Reference:
    Behrouz et al., "It's All Connected", 2025, arXiv 2504.13173, Moneta.
  """
  # Chunks, as in every rule with a network: its gradients are not linear in the
  # updates before, so that token by token they would be a loop.
  return Rule(mlp(), l_p(p), l_q(q), gradients="chunk", chunk=chunk)


def yaad(chunk: int = 64) -> Rule:
  """Yaad: a Huber objective whose threshold is a gate, and decay.

  Args:
    chunk: C, tokens whose gradients are taken at one point.

  >>> yaad().objective.takes_threshold
  True

  Reference:
    Behrouz et al., "It's All Connected", 2025, arXiv 2504.13173, Yaad.
  """
  return Rule(mlp(), huber(None), decay(), gradients="chunk", chunk=chunk)


def memora(chunk: int = 64, scale: float = 1.0) -> Rule:
  """Memora: softmax weights, retained by relative entropy.

  Args:
    chunk: C, tokens whose gradients are taken at one point.
    scale: what the weights of an output sum to.

  >>> memora().retention
  _Kl(decays=True, scale=1.0)

  Reference:
    Behrouz et al., "It's All Connected", 2025, arXiv 2504.13173, Memora.
  """
  return Rule(mlp(), l2(), kl(scale), gradients="chunk", chunk=chunk)


def atlas(chunk: int = 64, window: int = 8, degree: int = 2) -> Rule:
  """ATLAS: a window of gradients, polynomial features and Muon steps.

  Args:
    chunk: C, tokens whose gradients are taken at one point.
    window: tokens whose gradients a step sums.
    degree: of the features.

  >>> atlas().window
  8

  Reference:
    Behrouz et al., "ATLAS: Learning to Optimally Memorize the Context at Test
    Time", 2025, arXiv 2505.23735. It deviates: the paper gates each token of a
    window, here those gates are 1.
  """
  return Rule(
    matrix(),
    l2(),
    decay(),
    muon(),
    polynomial(degree),
    gradients="chunk",
    chunk=chunk,
    window=window,
  )


def lact(chunk: int = 2048, expansion: int = 2) -> Rule:
  """LaCT: one Muon step a large chunk, of a gated perceptron; reads before it.

  Args:
    chunk: C, tokens of a step.
    expansion: hidden width in units of D.

  >>> lact().updates
  'chunk'

  Reference:
    Zhang et al., "Test-Time Training Done Right", 2025, arXiv 2505.23884. It
    deviates: the paper normalises the weights after a step, and has a window of
    attention beside the memory, which is the caller's here.
  """
  return Rule(
    gated_mlp(expansion),
    dot(),
    algorithm=muon(has_momentum=False),
    gradients="chunk",
    updates="chunk",
    reads="before",
    chunk=chunk,
  )
