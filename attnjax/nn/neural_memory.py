"""`NeuralMemory`: a Flax layer around the operations of `attnjax.memory`."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from attnjax.nn.initializers import FAN_IN
from attnjax.nn.norm import make_norm
from attnjax.nn.starts import bound, check_start, initial_taps
from attnjax.ops import memory
from attnjax.ops.convolution import causal_convolution
from attnjax.ops.pytree_dataclass import pytree_dataclass
from attnjax.typing import Array, DTypeLike, Float, PyTree

__all__ = ["NeuralMemory", "NeuralMemoryState"]

# Initial bias of each gate before its sigmoid. A decay of sigmoid(-8) halves
# the weights in 2000 tokens. With a half-life shorter than the training
# sequences, nothing beyond their length could be recalled.
_BIASES = {"rate": -1.0, "momentum": 0.0, "decay": -8.0, "threshold": 0.0}
# Safety factor of the initial rate, because the gradient of a perceptron grows
# with its weights. Momentum at its bias of 0 doubles a step, unless dampened.
_RATE_MARGIN = 2.0


@pytree_dataclass
class NeuralMemoryState:
  """State of the layer between calls, of a constant size.

  Args:
    memory: `memory.MemoryState`.
    tail: the last inputs of the convolution, ``*B J 3HD``, or ``(1 + 2n)HD``
      of n writes a token.

  >>> from flax import nnx
  >>> layer = NeuralMemory(6, 2, rngs=nnx.Rngs(0))
  >>> layer.init_state((5,)).tail.shape
  (5, 3, 18)
  """

  memory: PyTree
  tail: PyTree


class NeuralMemory(nnx.Module):
  """A layer that writes each token into a neural memory and reads from it.

      q, k, v = silu(convolution(x W_q, x W_k, x W_v)),  q and k of length 1
      θ, η, α = max_rate σ(x w_θ), σ(x w_η), σ(x w_α)
      y       = memory.stream(q, k, v; θ, η, α)
      out     = (norm(y) ⊙ σ(x W_g)) W_o

  The layer is causal. The initial weights of the memory are parameters, but for
  `memory.ridge`, which begins with nothing told; so is the gain of each head
  where the memory's structure has a residual.

  Args:
    width: M.
    heads: H; each has a memory of its own.
    rule: the update rule; see `attnjax.memory`.
    writes: n, pairs of a key and a value that each token writes, one after the
      other, before it reads; for rules with gradients at every token. Two of a
      delta rule can swap what is stored, which one cannot (DeltaProduct).
    head_width: D = E; None is M / H.
    convolution: tokens that the convolution sees, >= 1.
    start: "bound": W_q begins as W_k, so that a token asks as it is written,
      and a key begins as the token before, so that a value is written under
      the key told before it. "drawn": drawn apart, taps of the
      convolution drawn, as published layers begin. "identity": drawn apart, and
      a convolution that begins as none.
    max_rate: the largest θ.
    output_init: of the map out.
    rngs: Flax NNX random streams; uses "params".

  Raises:
    ValueError: if heads do not divide the width, the convolution sees nothing,
      the start is none of the three, or "drawn" where the convolution sees one
      token, or the largest rate is not stable: a matrix that descends l2 at
      every token, with keys of length 1, diverges from 2 (1 + η) on.

  >>> import jax.numpy as jnp
  >>> from flax import nnx
  >>> layer = NeuralMemory(6, 2, rngs=nnx.Rngs(0))
  >>> y, state = layer(jnp.ones((7, 6)))
  >>> y.shape, int(state.memory.position)
  ((7, 6), 7)

  Reference:
    Behrouz, Zhong, Mirrokni, "Titans: Learning to Memorize at Test Time", 2025,
    arXiv 2501.00663, sections 3 and 4.4; several writes: Siems et al.,
    "DeltaProduct: Improving State-Tracking in Linear RNNs via Householder
    Products", 2025, arXiv 2502.10297; rates up to 2: Grazzi et al., "Unlocking
    State-Tracking in Linear RNNs Through Negative Eigenvalues", 2024, arXiv
    2411.12537.
  """

  def __init__(
    self,
    width: int,
    heads: int,
    *,
    rule: memory.Rule = memory.titans(),
    writes: int = 1,
    head_width: int | None = None,
    convolution: int = 4,
    start: str = "bound",
    max_rate: float = 1.0,
    output_init: Callable = FAN_IN,
    rngs: nnx.Rngs,
  ):
    if heads < 1 or (head_width is None and width % heads):
      raise ValueError(
        f"NeuralMemory: heads={heads} must divide width={width}; choose another"
        " number of heads, or give head_width"
      )
    if convolution < 1:
      raise ValueError(
        f"NeuralMemory: convolution must see 1 token or more, got {convolution}"
      )

    check_start("NeuralMemory", start, convolution)
    if writes < 1 or (
      writes > 1 and (rule.gradients, rule.reads) != ("token", "after")
    ):
      raise ValueError(
        "NeuralMemory: writes must be 1 for a rule whose gradients are taken at"
        " a chunk's start, or that reads before it writes, and else 1 or more,"
        f" got {writes}; a chunk has a number of tokens, not of writes"
      )

    # Descent of l2 by unit keys is stable below 2, and with momentum (the
    # heavy-ball method) below 2 (1 + η), where η is at most 1.
    exact = rule.gradients == "token" and rule.objective.slopes == (1.0, 1.0)
    limit = 2.0 if exact and rule.structure.is_linear else float("inf")
    if rule.algorithm.has_momentum:
      # Dampened, 2 (1 + η) / (1 - η): some η is stable for any rate.
      limit *= math.inf if rule.algorithm.dampened else 2
    if not 0 < max_rate < limit:
      raise ValueError(
        f"NeuralMemory: max_rate must be above 0 and below {limit}, got"
        f" {max_rate}; beyond it a matrix that corrects unit keys diverges"
      )

    head_width = width // heads if head_width is None else head_width
    inner = heads * head_width
    linear = lambda n, m, init=FAN_IN: nnx.Linear(
      n, m, use_bias=False, kernel_init=init, rngs=rngs
    )
    self.rule, self.heads, self.max_rate = rule, heads, max_rate
    self.writes, self.inner = writes, inner

    # Queries, then the keys of all writes, then their values.
    self.project = linear(width, (1 + 2 * writes) * inner)
    kernel = self.project.kernel[...]
    asks = bound(start, kernel[:, :inner], kernel[:, inner : 2 * inner])
    self.project.kernel[...] = kernel.at[:, :inner].set(asks)
    drawn = rngs.params() if start == "drawn" else None
    taps = initial_taps(start, convolution, inner, drawn, writes)
    self.kernel = nnx.Param(taps)

    self.names = memory.wanted_gates(rule)
    initial = _BIASES | {"rate": _rate_bias(rule, max_rate)}
    # A token decays once, in every channel by itself where the rule says so.
    channels = head_width if rule.retention.by_channel else 1
    self.counts = tuple(
      heads * (channels if name == "decay" else writes) for name in self.names
    )
    biases = jnp.concatenate(
      [
        jnp.full(count, initial[name])
        for name, count in zip(self.names, self.counts, strict=True)
      ]
    )
    # Kernels of 0, so that initially gates do not depend on the token. With
    # random kernels some tokens get several times the rate, and the memory of
    # rows that repeat such a token diverges.
    self.gates = linear(width, sum(self.counts), nnx.initializers.zeros_init())
    self.gate_bias = nnx.Param(biases)

    # Sums of what was told begin with nothing: there is nothing to learn.
    weights = {}
    if not rule.structure.solves:
      weights = memory.initial_weights(rule, rngs.params(), heads, head_width)
    # A last map of 0 makes an empty memory output 0. Not with a residual, which
    # normalises the output: at 0 that has no gradient.
    if weights and not rule.structure.residual:
      last = list(weights)[-1]
      weights[last] = jnp.zeros_like(weights[last])
    # 1, of length sqrt(D), though values have length 1: with 1 / sqrt(D) the
    # inner loss can reach 0, but writes are too small, and it learns to recall
    # three times slower.
    gain = jnp.ones((heads, head_width))
    self.gain = nnx.Param(gain) if rule.structure.residual else None
    self.start = nnx.Dict({name: nnx.Param(w) for name, w in weights.items()})

    self.norm = make_norm("rms", head_width, False, rngs)
    self.output_gate = linear(width, inner)
    self.output = linear(inner, width, output_init)

  def init_state(
    self, batch: tuple[int, ...], dtype: DTypeLike = jnp.float32
  ) -> NeuralMemoryState:
    """The state before the first token.

    Args:
      batch: sizes of the batch axes ``*B``.
      dtype: of the state, float32 or wider.
    """
    state = memory.init(
      self.rule,
      batch,
      self.heads,
      self.inner // self.heads,
      weights={name: w[...] for name, w in self.start.items()} or None,
      gain=None if self.gain is None else self.gain[...],
      dtype=dtype,
    )
    taps, features = self.kernel.shape
    tail = jnp.zeros((*batch, taps - 1, features), dtype)
    return NeuralMemoryState(state, tail)

  def __call__(
    self,
    inputs: Float[Array, "*B T M"],
    state: NeuralMemoryState | None = None,
  ) -> tuple[Float[Array, "*B T M"], NeuralMemoryState]:
    """Writes and reads a sequence.

    Args:
      inputs: ``*B T M``.
      state: of an earlier call; None is `init_state`.

    Returns:
      ``*B T M``, and the state after the last token.
    """
    if state is None:
      state = self.init_state(inputs.shape[:-2])

    told, tail = self._told(inputs, state)
    new, out = memory.stream(state.memory, *told)
    out = out[..., self.writes - 1 :: self.writes, :, :]
    # The dtype is kept, so that the state can be the carry of a loop.
    tail = tail.astype(state.tail.dtype)
    return self._read_out(out, inputs), NeuralMemoryState(new, tail)

  def streamed(
    self,
    inputs: Float[Array, "*B T M"],
    state: NeuralMemoryState | None = None,
  ) -> tuple[Array, Array, Array, memory.Gates]:
    """What the memory is told: the arguments of `memory.stream` after a state.

    Args:
      inputs: ``*B T M``.
      state: of an earlier call; None is `init_state`.

    Returns:
      Query, key and value ``*B Tn H D``, of n writes a token, and gates, each
      ``*B Tn H``.

    >>> import jax.numpy as jnp
    >>> from flax import nnx
    >>> layer = NeuralMemory(6, 2, rngs=nnx.Rngs(0))
    >>> query, key, value, gates = layer.streamed(jnp.ones((7, 6)))
    >>> query.shape, gates.rate.shape
    ((7, 2, 3), (7, 2))
    """
    if state is None:
      state = self.init_state(inputs.shape[:-2])
    return self._told(inputs, state)[0]

  def _told(self, inputs, state):
    """Arguments of `memory.stream`, and the last inputs of the convolution."""
    mixed, tail = causal_convolution(
      self.project(inputs), self.kernel[...], state.tail
    )
    ends = self.inner, (1 + self.writes) * self.inner
    query, key, value = jnp.split(jax.nn.silu(mixed), ends, axis=-1)
    # ``*B T n H D`` as ``*B Tn H D``: a sequence of writes.
    query, key, value = map(self._split_heads, (query, key, value))
    # All writes of a token before the last are read by nobody.
    query = jnp.repeat(query, self.writes, axis=-3)
    # Values of norm about 1 for any D: a perceptron that fits longer ones has
    # large weights, with which writes become unstable.
    value = value / value.shape[-1] ** 0.5

    gates = self._gates(inputs)
    return (_unit(query), _unit(key), value, gates), tail

  def recall(
    self, inputs: Float[Array, "*B T M"], state: NeuralMemoryState
  ) -> Float[Array, "*B T M"]:
    """Reads the memory for each token, without writing.

    Args:
      inputs: ``*B T M``; queries are projected without the convolution.
      state: of `__call__` or `init_state`.
    """
    kernel = self.project.kernel[...][:, : self.inner]
    projected = inputs @ kernel.astype(inputs.dtype)
    query = _unit(self._split_heads(jax.nn.silu(projected)))
    return self._read_out(memory.read(state.memory, query), inputs)

  def _split_heads(self, x):
    """``*B T nHD`` to ``*B Tn H D``."""
    *batch, length, features = x.shape
    count = features // self.inner
    width = self.inner // self.heads
    return x.reshape((*batch, length * count, self.heads, width))

  def _gates(self, inputs) -> memory.Gates:
    """Gates of the rule, in float32 or wider, by sigmoids of the inputs."""
    bias = self.gate_bias[...]
    # Not in bfloat16: near -8, the logit of a decay, its steps are 1/16.
    logits = self.gates(inputs).astype(bias.dtype)
    logits = logits + bias.reshape((1,) * (logits.ndim - 1) + (-1,))
    ends = np.cumsum(self.counts)[:-1].tolist()
    parts = jnp.split(jax.nn.sigmoid(logits), ends, axis=-1)
    gates = {
      name: self._by_write(name, part)
      for name, part in zip(self.names, parts, strict=True)
    }
    return memory.Gates(**gates | {"rate": self.max_rate * gates["rate"]})

  def _by_write(self, name, gate):
    """A gate of every write and head; of a decay by channel, of each."""
    *batch, length, _ = gate.shape
    if name != "decay":
      return gate.reshape((*batch, length * self.writes, self.heads))
    if self.rule.retention.by_channel:
      width = self.inner // self.heads
      gate = gate.reshape((*batch, length, self.heads, width))
    if self.writes == 1:
      return gate

    # What a token forgets it forgets before its first write.
    axis = len(batch) + 1
    others = [jnp.zeros_like(gate)] * (self.writes - 1)
    gate = jnp.stack([gate, *others], axis=axis)
    return gate.reshape((*batch, length * self.writes, *gate.shape[axis + 1 :]))

  def _read_out(self, out, inputs):
    """``*B T H D`` normalised, gated, and mapped to the width M."""
    y = self.norm(out)
    *rows, heads, width = y.shape
    y = y.reshape((*rows, heads * width)).astype(inputs.dtype)
    return self.output(y * jax.nn.sigmoid(self.output_gate(inputs)))


def _unit(x):
  """Normalizes to norm 1; the ε keeps the gradient at 0 finite."""
  square = (x * x).sum(-1, keepdims=True)
  return x * jax.lax.rsqrt(square + 1e-6)


def _rate_bias(rule: memory.Rule, max_rate: float) -> float:
  """Initial bias of the rate, lower where gradients are taken at chunk starts.

  There C tokens with the same key step C times as far as one of them. Steps of
  more than twice the distance to the minimum diverge within a few chunks.
  """
  if rule.gradients == "token":
    return _BIASES["rate"]
  doubled = rule.algorithm.has_momentum and not rule.algorithm.dampened
  margin = _RATE_MARGIN * (2 if doubled else 1)
  share = 1 / (margin * rule.chunk * max_rate)
  # The logit of `share`, of which the sigmoid is the initial rate over the
  # largest.
  return min(-math.log(max(1 / share - 1, 1)), _BIASES["rate"])
