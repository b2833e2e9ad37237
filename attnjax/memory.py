"""Neural memory: networks whose weights are written as a sequence is read.

Algorithm: How the gradients g of the writes become steps; see its
neighbours.
Features: A map of keys and queries; the plain one leaves them as they
are.
Gates: Numbers a token and a head, usually functions of the token.
MemoryState: What a memory knows, and how far it has read.
Objective: The loss of what a memory answers to a key; see `l2` and its
neighbours.
Retention: What is kept of earlier writes; see `decay` and its neighbours.
Rule: Everything that decides what a memory does with keys, values and
gates.
Structure: A network of maps; see `matrix` and its neighbours.
atlas: Looks at a window, at powers of the keys, and steps orthogonally.
decay: A share α of everything is forgotten: A[t] = (1 - α[t]) A[t-1] +
step[t].
delta_net: Corrects, W[t] = W[t-1] + θ[t] k[t] ⊗ (v[t] - k[t] W[t-1]).
dot: Inner product, ℓ = - M(k) · v: a write that does not look what is
there.
gated_delta_net: Forgets, then corrects.
gated_mlp: A gated perceptron, M(x) = (silu(x W_gate) ⊙ x W_up) W_down.
gradient_descent: Along the gradient, step[t] = -θ[t] g[t].
huber: Squared near, absolute far, of each feature's miss m = |M(k) - v|.
init: A memory that has read nothing.
initial_weights: Random weights to begin with, and to learn from there.
kl: Entropy: the weights of an output are shares, W = scale · softmax(A).
l2: Squared distance, ℓ = ½ ‖M(k) - v‖².
l_p: Power of the miss, ℓ = 1/p Σ_e |M(k) - v|^p; p = 2 is `l2`.
l_q: Decay, and weights by their norm, W = A / ‖A‖_q^(q-2); q = 2 is
`decay`.
lact: One orthogonal step a large chunk, of a gated perceptron; reads
before it.
linear_attention: Adds up pairs, W[t] = W[t-1] + θ[t] k[t] ⊗ v[t].
matrix: One matrix, M(x) = x W: the memory of linear attention and delta
rules.
memora: Weights that are shares, kept near by relative entropy.
mlp: A perceptron, M(x) = gelu(gelu(x W_0) W_1) ... W_last, without
biases.
momentum: Past surprise carried on, S[t] = η[t] S[t-1] - θ[t] g[t];
step[t] = S[t].
moneta: An l_p objective, weights by their l_q norm.
muon: Orthogonalised, S[t] = η[t] S[t-1] - g[t]; step[t] = θ[t]
orthogonal(S[t]).
negative: The same with its sign turned: a control that climbs where
others descend.
none: Nothing is forgotten: A[t] = A[t-1] + step[t], W = A.
orthogonalized: About the nearest matrix whose singular values are all 1.
polynomial: Powers up to a degree, φ(q) · φ(k) = Σ_n (q · k)^n / n!, n = 1
.. degree.
read: What a memory answers, and is not changed by.
stream: Reads a sequence into a memory, and answers each token on the way.
titans: The long-term memory of Titans: momentum, decay, a perceptron.
ttt_linear: A matrix with a residual, gradients at the beginning of each
chunk.
ttt_mlp: `ttt_linear` with a perceptron of two maps.
wanted_gates: The gates that a rule uses.
write: The state after reading a sequence; see `stream`, which also
answers.
yaad: A Huber objective whose threshold is a gate; decay.
"""

from attnjax.ops.memory import *  # noqa: F403
from attnjax.ops.memory import __all__ as __all__
