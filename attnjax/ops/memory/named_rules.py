"""Published update rules of neural memories, by name."""

from attnjax.ops.memory.algorithms import momentum, muon
from attnjax.ops.memory.objectives import dot, huber, l2, l_p
from attnjax.ops.memory.retentions import channel_decay, decay, kl, l_q
from attnjax.ops.memory.ridge_regression import ridge
from attnjax.ops.memory.rule import Rule
from attnjax.ops.memory.structures import gated_mlp, matrix, mlp, polynomial

__all__ = [
  "atlas",
  "delta_net",
  "gated_delta_net",
  "kimi_delta_attention",
  "lact",
  "linear_attention",
  "mamba2",
  "memora",
  "mesa_net",
  "moneta",
  "titans",
  "ttt_linear",
  "ttt_mlp",
  "yaad",
]


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


def mamba2(chunk: int = 64) -> Rule:
  """Mamba-2: linear attention with a decay for each token and head.

      W[t] = (1 - α[t]) W[t-1] + θ[t] k[t] ⊗ v[t]

  Args:
    chunk: tokens computed at once.

  >>> from attnjax import memory
  >>> mamba2().retention == memory.decay()
  True

  Reference:
    Dao, Gu, "Transformers are SSMs: Generalized Models and Efficient Algorithms
    Through Structured State Space Duality", 2024, arXiv 2405.21060. It
    deviates: there one gate Δ makes both, θ = Δ and 1 - α = exp(-Δ a); here
    they are apart.
  """
  return Rule(objective=dot(), retention=decay(), chunk=chunk)


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


def kimi_delta_attention(chunk: int = 64) -> Rule:
  """KDA: the delta rule with a decay for each feature of the keys.

      W' = diag(1 - α[t]) W[t-1],   W[t] = W' + θ[t] k[t] ⊗ (v[t] - k[t] W')

  Args:
    chunk: C, tokens computed at once; C² D numbers a head are held.

  >>> kimi_delta_attention().retention.by_channel
  True

  Reference:
    Kimi Team, "Kimi Linear: An Expressive, Efficient Attention Architecture",
    2025, arXiv 2510.26692.
  """
  return Rule(retention=channel_decay(), decayed=True, chunk=chunk)


def mesa_net(
  chunk: int = 64, penalty: float = 1.0, iterations: int = 30
) -> Rule:
  """MesaNet: ridge regression on all that was told, solved at every read.

      H[t] = (1 - α[t]) H[t-1] + θ[t] k[t] ⊗ k[t],   G[t] the same of k ⊗ v
      out[t] = q[t] (H[t] + λ 1)⁻¹ G[t]

  Args:
    chunk: tokens computed at once.
    penalty: λ, above 0.
    iterations: of conjugate gradients, each as much work as a read.

  >>> import jax.numpy as jnp
  >>> from attnjax import memory
  >>> state = memory.init(mesa_net(), (), heads=1, width=2)
  >>> key = jnp.array([[[1.0, 0.0]], [[0.6, 0.8]]])  # not orthogonal
  >>> state = memory.write(state, key, 5 * key, memory.Gates(
  ...   rate=jnp.full((2, 1), 1e4), decay=jnp.zeros((2, 1))))
  >>> jnp.round(memory.read(state, key), 2)[:, 0].tolist()
  [[5.0, 0.0], [3.0, 4.0]]

  Reference:
    von Oswald et al., "MesaNet: Sequence Modeling by Locally Optimal Test-Time
    Training", 2025, arXiv 2506.05233. It deviates: there λ is learned, a number
    a head and feature, and iterations stop at an accuracy.
  """
  structure = ridge(penalty, iterations)
  return Rule(structure, dot(), decay(), chunk=chunk)


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
