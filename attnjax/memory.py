"""Neural memory: networks whose weights are written as a sequence is read.

Algorithm: An optimizer: it turns the gradient g of a token into a step.
Features: Features φ of keys and queries: their powers up to a degree; 1 is x.
Gates: Step size, momentum, decay and threshold of each token and head.
MemoryState: Weights of a memory, and the other state of its update rule.
Objective: A loss ℓ(M(k), v) of each token: `l2`, `dot`, `huber`, `l_p`,
`negative`.
Retention: Decay and link of an accumulator: `none`, `decay`, `l_q`, `kl` and
more.
Rule: The update rule of a memory: a function of keys, values and gates.
Structure: A network of linear maps: the base of `matrix`, `mlp` and others.
atlas: ATLAS: a window of gradients, polynomial features and Muon steps.
channel_decay: Decay by a gate for each feature of the keys: A[t] = diag(1 -
α[t]) A[t-1].
decay: Weight decay by a gate α: A[t] = (1 - α[t]) A[t-1] + step[t].
delta_net: The delta rule, W[t] = W[t-1] + θ[t] k[t] ⊗ (v[t] - k[t] W[t-1]).
dot: Negative inner product, ℓ = - M(k) · v.
gated_delta_net: The delta rule with decay.
gated_mlp: A gated perceptron, M(x) = (silu(x W_gate) ⊙ x W_up) W_down.
gradient_descent: Gradient descent, step[t] = -θ[t] g[t].
huber: Huber loss of each feature's error m = |M(k) - v|.
init: A state before the first token.
initial_weights: Random initial weights, normal with a variance of scale² /
fan-in.
kl: Retention by relative entropy: weights W = scale · softmax(A).
kimi_delta_attention: KDA: the delta rule with a decay for each feature of the
keys.
l2: Squared distance, ℓ = ½ ‖M(k) - v‖².
l_p: Power of the error, ℓ = 1/p Σ_e |M(k) - v|^p; p = 2 is `l2`.
l_q: Decay, and weights W = A / ‖A‖_q^(q-2); q = 2 is `decay`.
lact: LaCT: one Muon step a large chunk, of a gated perceptron; reads before it.
linear_attention: Linear attention, W[t] = W[t-1] + θ[t] k[t] ⊗ v[t].
mamba2: Mamba-2: linear attention with a decay for each token and head.
matrix: One matrix, M(x) = x W, as in linear attention and delta rules.
memora: Memora: softmax weights, retained by relative entropy.
mesa_net: MesaNet: ridge regression on all that was told, solved at every read.
mlp: A perceptron, M(x) = gelu(gelu(x W_0) W_1) ... W_last, without biases.
momentum: Momentum, S[t] = η[t] S[t-1] - θ[t] g[t]; step[t] = S[t].
moneta: Moneta: an l_p objective, weights normalised by their l_q norm.
muon: Muon, S[t] = η[t] S[t-1] - g[t]; step[t] = θ[t] orthogonal(S[t]).
negative: The negated objective, as a control: writes ascend it.
none: No decay: A[t] = A[t-1] + step[t], W = A.
orthogonalized: Newton-Schulz approximation of U Vᵀ, the orthogonal factor of x
= U Σ Vᵀ.
polynomial: Powers up to a degree, φ(q) · φ(k) = Σ_n (q · k)^n / n!, n = 1 ..
degree.
read: Applies the network of a memory to queries, without writing.
ridge: Ridge regression of the values on the keys that were told.
stream: Writes a sequence into a memory and reads an output at each token.
titans: The long-term memory of Titans: momentum, decay, a perceptron.
ttt_linear: TTT-Linear: a matrix with a residual, gradients at the chunk's
start.
ttt_mlp: TTT-MLP: `ttt_linear` with a perceptron of two maps.
wanted_gates: Names of the gates that a rule uses.
write: Writes a sequence into a memory: `stream` without queries.
yaad: Yaad: a Huber objective whose threshold is a gate, and decay.
"""

from attnjax.ops.memory import *  # noqa: F403
from attnjax.ops.memory import __all__ as __all__
