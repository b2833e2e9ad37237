"""A neural memory as a layer: maps into it, gates of its own, a map out."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from attnjax.nn.norm import make_norm
from attnjax.ops import memory
from attnjax.ops.convolution import causal_convolution
from attnjax.ops.node import node
from attnjax.typing import Array, DTypeLike, Float

__all__ = ["NeuralMemory", "NeuralMemoryState"]

_FAN_IN = jax.nn.initializers.variance_scaling(1.0, "fan_in", "normal")
# Of the sigmoid of each gate at the start: learn a little, carry some on, and
# forget half in 2000 tokens: what is forgotten within the rows of training
# cannot be there beyond them.
_BIASES = {"rate": -1.0, "momentum": 0.0, "decay": -8.0, "threshold": 0.0}
# Momentum at its bias of 0 doubles a step, and a perceptron that has learned a
# little is steeper than one that has not.
_STEEPER = 4.0


@node
class NeuralMemoryState:
  """What the layer carries from one call to the next, of a constant size.

  Args:
    memory: `memory.MemoryState`.
    tail: the latest inputs of the convolution, ``*B J 3HD``.

  >>> from flax import nnx
  >>> layer = NeuralMemory(6, 2, rngs=nnx.Rngs(0))
  >>> layer.init_state((5,)).tail.shape
  (5, 3, 18)
  """

  memory: Any
  tail: Any


class NeuralMemory(nnx.Module):
  """Reads a sequence into a memory, and answers each token from it.

      q, k, v = silu(convolution(x W_q, x W_k, x W_v)),  q and k of length 1
      θ, η, α = max_rate σ(x w_θ), σ(x w_η), σ(x w_α)
      y       = memory.stream(q, k, v; θ, η, α)
      out     = (norm(y) ⊙ σ(x W_g)) W_o

  An answer depends on no later token. The weights that a memory begins with are
  parameters, and learned.

  Args:
    width: M.
    heads: H; each has a memory of its own.
    rule: what the memory is; see `attnjax.memory`.
    head_width: D = E; None is M / H.
    convolution: tokens that the convolution sees, >= 1.
    max_rate: the largest θ.
    output_init: of the map out.
    rngs: Flax NNX random streams; uses "params".

  Raises:
    ValueError: if heads do not divide the width, the convolution sees nothing,
      or the largest rate cannot be stable: a matrix that descends l2 at every
      token, with keys of length 1, diverges from 2 (1 + η) on.

  >>> import jax.numpy as jnp
  >>> from flax import nnx
  >>> layer = NeuralMemory(6, 2, rngs=nnx.Rngs(0))
  >>> y, state = layer(jnp.ones((7, 6)))
  >>> y.shape, int(state.memory.position)
  ((7, 6), 7)

  Reference:
    Behrouz, Zhong, Mirrokni, "Titans: Learning to Memorize at Test Time", 2025,
    arXiv 2501.00663, sections 3 and 4.4.
  """

  def __init__(
    self,
    width: int,
    heads: int,
    *,
    rule: memory.Rule = memory.titans(),
    head_width: int | None = None,
    convolution: int = 4,
    max_rate: float = 1.0,
    output_init: Callable = _FAN_IN,
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
    _check_rate(rule, max_rate)
    head_width = width // heads if head_width is None else head_width
    inner = heads * head_width
    linear = lambda n, m, init=_FAN_IN: nnx.Linear(
      n, m, use_bias=False, kernel_init=init, rngs=rngs
    )
    self.rule, self.heads, self.max_rate = rule, heads, max_rate
    self.project = linear(width, 3 * inner)
    # It begins as none: each token as it is.
    taps = jnp.zeros((convolution, 3 * inner)).at[-1].set(1)
    self.kernel = nnx.Param(taps)
    self.names = memory.wanted_gates(rule)
    first = _BIASES | {"rate": _rate_bias(rule, max_rate)}
    biases = jnp.repeat(jnp.array([first[n] for n in self.names]), heads)
    # Gates begin the same for every token: drawn ones would give some token,
    # and a row that repeats it, several times the rate that is meant.
    self.gates = linear(
      width, len(self.names) * heads, nnx.initializers.zeros_init()
    )
    self.gate_bias = nnx.Param(biases)
    start = memory.initial_weights(rule, rngs.params(), heads, head_width)
    # The last map begins at 0: what is read at first is what was written. Where
    # the output is normalised, 0 would be no place to take a gradient.
    if not rule.structure.residual:
      last = list(start)[-1]
      start[last] = jnp.zeros_like(start[last])
    self.start = nnx.Dict({name: nnx.Param(w) for name, w in start.items()})
    self.norm = make_norm("rms", head_width, False, rngs)
    self.output_gate = linear(width, inner)
    self.output = linear(inner, width, output_init)

  def init_state(
    self, batch: tuple[int, ...], dtype: DTypeLike = jnp.float32
  ) -> NeuralMemoryState:
    """The state before the first token.

    Args:
      batch: sizes of the batch axes ``*B``.
      dtype: of what the memory holds, float32 or wider.
    """
    inner = self.project.out_features // 3
    state = memory.init(
      self.rule,
      batch,
      self.heads,
      inner // self.heads,
      weights={name: w[...] for name, w in self.start.items()},
      dtype=dtype,
    )
    taps = self.kernel.shape[0] - 1
    return NeuralMemoryState(state, jnp.zeros((*batch, taps, 3 * inner), dtype))

  def __call__(
    self, inputs: Float[Array, "*B T M"], state: Any = None
  ) -> tuple[Float[Array, "*B T M"], Any]:
    """Writes and reads a sequence.

    Args:
      inputs: ``*B T M``.
      state: where an earlier call left off; None is the beginning.

    Returns:
      ``*B T M``, and the new state.
    """
    if state is None:
      state = self.init_state(inputs.shape[:-2])
    mixed, tail = causal_convolution(
      self.project(inputs), self.kernel[...], state.tail
    )
    query, key, value = (
      self._headed(x) for x in jnp.split(jax.nn.silu(mixed), 3, axis=-1)
    )
    # Values of a length of about 1, whatever D: a perceptron that had to answer
    # longer ones would grow steep, and its writes unstable.
    value = value / value.shape[-1] ** 0.5
    held, answers = memory.stream(
      state.memory, _unit(query), _unit(key), value, self._gates(inputs)
    )
    tail = tail.astype(state.tail.dtype)
    return self._out(answers, inputs), NeuralMemoryState(held, tail)

  def recall(
    self, inputs: Float[Array, "*B T M"], state: NeuralMemoryState
  ) -> Float[Array, "*B T M"]:
    """What the memory answers to each token by itself; nothing is written.

    Args:
      inputs: ``*B T M``; each asks alone, without the convolution.
      state: what is read.
    """
    inner = self.project.out_features // 3
    asked = inputs @ self.project.kernel[...][:, :inner].astype(inputs.dtype)
    query = _unit(self._headed(jax.nn.silu(asked)))
    return self._out(memory.read(state.memory, query), inputs)

  def _headed(self, x):
    """``*B T H D``."""
    *rows, features = x.shape
    return x.reshape((*rows, self.heads, features // self.heads))

  def _gates(self, inputs) -> memory.Gates:
    """The rule's gates, float32 or wider, within their ranges."""
    bias = self.gate_bias[...]
    logits = self.gates(inputs).astype(bias.dtype)
    logits = logits + bias.reshape((1,) * (logits.ndim - 1) + (-1,))
    parts = jnp.split(logits, len(self.names), axis=-1)
    found = dict(zip(self.names, map(jax.nn.sigmoid, parts), strict=True))
    return memory.Gates(**found | {"rate": self.max_rate * found["rate"]})

  def _out(self, answers, inputs):
    """Normalised, gated, and mapped back to the width of the model."""
    y = self.norm(answers)
    *rows, heads, width = y.shape
    y = y.reshape((*rows, heads * width)).astype(inputs.dtype)
    return self.output(y * jax.nn.sigmoid(self.output_gate(inputs)))


def _unit(x):
  """Of length 1; about 0 stays about 0."""
  square = (x * x).sum(-1, keepdims=True)
  return x * jax.lax.rsqrt(square + 1e-6)


def _rate_bias(rule: memory.Rule, max_rate: float) -> float:
  """Of the rate at the start; lower where a chunk's gradients are stale.

  C tokens of one key then step C times as far as one that sees the others'
  steps, and beyond twice the way a memory diverges within a few chunks.
  """
  if rule.gradients == "token":
    return _BIASES["rate"]
  share = 1 / (_STEEPER * rule.chunk * max_rate)
  return min(-math.log(max(1 / share - 1, 1)), _BIASES["rate"])


def _check_rate(rule: memory.Rule, max_rate: float) -> None:
  """Raises ValueError for rates that are no rates, or that diverge."""
  exact = rule.gradients == "token" and rule.objective.slopes == (1.0, 1.0)
  limit = 2.0 if exact and rule.structure.is_linear else float("inf")
  if rule.algorithm.has_momentum:
    limit *= 2
  if not 0 < max_rate < limit:
    raise ValueError(
      f"NeuralMemory: max_rate must be above 0 and below {limit}, got"
      f" {max_rate}; beyond it a matrix that corrects unit keys diverges"
    )
