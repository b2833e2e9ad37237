"""Memories that have a name, each as its choices."""

from attnjax.ops.memory.algorithms import momentum as with_momentum
from attnjax.ops.memory.algorithms import muon
from attnjax.ops.memory.features import polynomial
from attnjax.ops.memory.objectives import dot, huber, l2, l_p
from attnjax.ops.memory.retentions import decay, kl, l_q
from attnjax.ops.memory.rule import Rule
from attnjax.ops.memory.structures import gated_mlp, matrix, mlp

__all__ = [
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


def linear_attention(chunk: int = 64) -> Rule:
  """Adds up pairs, W[t] = W[t-1] + θ[t] k[t] ⊗ v[t].

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
  """Corrects, W[t] = W[t-1] + θ[t] k[t] ⊗ (v[t] - k[t] W[t-1]).

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
  """Forgets, then corrects.

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
  return Rule(retention=decay(), decayed=True, chunk=chunk)


def ttt_linear(chunk: int = 16) -> Rule:
  """A matrix with a residual, gradients at the beginning of each chunk.

  Args:
    chunk: C, tokens whose gradients are taken at one place.

  >>> ttt_linear().structure.residual
  True

  Reference:
    Sun et al., "Learning to (Learn at Test Time): RNNs with Expressive Hidden
    States", 2024, arXiv 2407.04620.
  """
  return Rule(matrix(residual=True), gradients="chunk", chunk=chunk)


def ttt_mlp(chunk: int = 16, expansion: int = 4) -> Rule:
  """`ttt_linear` with a perceptron of two maps.

  Args:
    chunk: C, tokens whose gradients are taken at one place.
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
    chunk: C, tokens whose gradients are taken at one place.
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
    with_momentum(),
    gradients="chunk",
    chunk=chunk,
  )


def moneta(chunk: int = 64, p: float = 3.0, q: float = 4.0) -> Rule:
  """An l_p objective, weights by their l_q norm.

  Args:
    chunk: C, tokens whose gradients are taken at one place.
    p: of the objective.
    q: of the norm.

  >>> moneta().objective
  _Lp(p=3.0)

  Reference:
    Behrouz et al., "It's All Connected", 2025, arXiv 2504.13173, Moneta.
  """
  return Rule(mlp(), l_p(p), l_q(q), gradients="chunk", chunk=chunk)


def yaad(chunk: int = 64) -> Rule:
  """A Huber objective whose threshold is a gate; decay.

  Args:
    chunk: C, tokens whose gradients are taken at one place.

  >>> yaad().objective.takes_threshold
  True

  Reference:
    Behrouz et al., "It's All Connected", 2025, arXiv 2504.13173, Yaad.
  """
  return Rule(mlp(), huber(None), decay(), gradients="chunk", chunk=chunk)


def memora(chunk: int = 64, scale: float = 1.0) -> Rule:
  """Weights that are shares, kept near by relative entropy.

  Args:
    chunk: C, tokens whose gradients are taken at one place.
    scale: of the shares.

  >>> memora().retention
  _Kl(decays=True, scale=1.0)

  Reference:
    Behrouz et al., "It's All Connected", 2025, arXiv 2504.13173, Memora.
  """
  return Rule(mlp(), l2(), kl(scale), gradients="chunk", chunk=chunk)


def atlas(chunk: int = 64, window: int = 8, degree: int = 2) -> Rule:
  """Looks at a window, at powers of the keys, and steps orthogonally.

  Args:
    chunk: C, tokens whose gradients are taken at one place.
    window: tokens that each step looks at.
    degree: of the powers.

  >>> atlas().window
  8

  Reference:
    Behrouz et al., "ATLAS: Learning to Optimally Memorize the Context at Test
    Time", 2025, arXiv 2505.23735; like it, not it: its gates of the tokens of a
    window are 1 here.
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
  """One orthogonal step a large chunk, of a gated perceptron; reads before it.

  Args:
    chunk: C, tokens of a step.
    expansion: hidden width in units of D.

  >>> lact().updates
  'chunk'

  Reference:
    Zhang et al., "Test-Time Training Done Right", 2025, arXiv 2505.23884; like
    it, not it: its weights are normalised after a step, and the window of
    attention around it is the caller's.
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
