"""Gated recurrent units, and attention by one query per step of decoding."""

import warnings
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from attnjax.nn.initializers import FAN_IN
from attnjax.ops import masks
from attnjax.ops import scoring as scorings
from attnjax.ops.attention import attend as default_attend
from attnjax.ops.pytree_dataclass import pytree_dataclass
from attnjax.ops.recurrent import GRUParams, gru_scan, gru_step
from attnjax.typing import Array, Float, Int, PyTree

__all__ = ["GRU", "STEP_SCORES", "GRUCell", "StepAttention"]

# Also choices of `Seq2SeqConfig.attention`, which adds "none".
STEP_SCORES = ("additive", "dot", "general")

_ORTHOGONAL = jax.nn.initializers.orthogonal()


class GRUCell(nnx.Module):
  """One step of a gated recurrent unit; see `ops.recurrent.gru_step`.

  State kernels start orthogonal, gate by gate, which preserves the norm of the
  state; biases start at 0.

  Args:
    inputs: D, features of an input.
    width: M, features of the state.
    rngs: Flax NNX random streams; uses "params".

  Raises:
    ValueError: if a size is below 1.

  A state within (-1, 1) stays there, whatever comes in:

  >>> import jax.numpy as jnp
  >>> from flax import nnx
  >>> cell = GRUCell(3, 5, rngs=nnx.Rngs(0))
  >>> state = cell(jnp.zeros(5), 1e6 * jnp.ones(3))
  >>> bool((jnp.abs(state) <= 1).all())
  True

  Reference:
    Cho et al., 2014, arXiv 1406.1078; orthogonal starts: Saxe, McClelland,
    Ganguli, "Exact solutions to the nonlinear dynamics of learning in deep
    linear neural networks", 2013, arXiv 1312.6120.
  """

  def __init__(self, inputs: int, width: int, *, rngs: nnx.Rngs):
    if inputs < 1 or width < 1:
      raise ValueError(
        f"GRU: inputs and width must be at least 1, got {inputs} and {width}"
      )

    # One kernel for the three gates, so that a step is one matrix product.
    kernel = FAN_IN(rngs.params(), (inputs, 3 * width), jnp.float32)
    self.inputs_kernel = nnx.Param(kernel.reshape((inputs, 3, width)))
    # Drawn per gate: the parts of an orthogonal ``M 3M`` are not orthogonal.
    gates = [
      _ORTHOGONAL(key, (width, width), jnp.float32)
      for key in jax.random.split(rngs.params(), 3)
    ]
    self.state_kernel = nnx.Param(jnp.stack(gates, axis=1))

    # Two biases, as in PyTorch: in the candidate the reset gate multiplies that
    # of the state, so that the two do not add up to one.
    self.inputs_bias = nnx.Param(jnp.zeros((3, width), jnp.float32))
    self.state_bias = nnx.Param(jnp.zeros((3, width), jnp.float32))

  @property
  def params(self) -> GRUParams:
    """The parameters, as the primitives take them."""
    return GRUParams(
      self.inputs_kernel[...],
      self.state_kernel[...],
      self.inputs_bias[...],
      self.state_bias[...],
    )

  def __call__(
    self, state: Float[Array, "*B M"], inputs: Float[Array, "*B D"]
  ) -> Float[Array, "*B M"]:
    """The next state."""
    return gru_step(self.params, state, inputs)


class GRU(nnx.Module):
  """A gated recurrent unit along a sequence, in one direction or in both.

  Args:
    inputs: D, features of an input.
    width: M, features of the state of a direction.
    bidirectional: whether a second unit reads from the end to the start; the
      outputs of the two are concatenated, ``2M`` features.
    rngs: Flax NNX random streams; uses "params".

  Raises:
    ValueError: if a size is below 1.

  In both directions, every output depends on the whole sequence:

  >>> import jax.numpy as jnp
  >>> from flax import nnx
  >>> layer = GRU(3, 5, bidirectional=True, rngs=nnx.Rngs(0))
  >>> x = jnp.ones((7, 3))
  >>> changed = layer(x)[0] != layer(x.at[6].set(2.0))[0]
  >>> changed[0].tolist() == 5 * [False] + 5 * [True]
  True

  Reference:
    Cho et al., 2014, arXiv 1406.1078; Schuster, Paliwal, "Bidirectional
    Recurrent Neural Networks", 1997.
  """

  def __init__(
    self,
    inputs: int,
    width: int,
    *,
    bidirectional: bool = False,
    rngs: nnx.Rngs,
  ):
    self.forward = GRUCell(inputs, width, rngs=rngs)
    self.backward = GRUCell(inputs, width, rngs=rngs) if bidirectional else None

  def __call__(
    self,
    inputs: Float[Array, "*B T D"],
    state: Float[Array, "*B N"] | None = None,
    *,
    lengths: Int[Array, "*B"] | None = None,
  ) -> tuple[Float[Array, "*B T N"], Float[Array, "*B N"]]:
    """(outputs, last state), of ``N = M`` or ``2M`` features.

    Args:
      inputs: ``*B T D``.
      state: before the first step, ``*B N``; None is zeros.
      lengths: int ``*B``, steps before the padding at the end, where outputs
        are 0 and the state stays. None is T.
    """
    if self.backward is None:
      return gru_scan(self.forward.params, inputs, state, lengths=lengths)

    # The two directions split the features of the state, forward first.
    states = (None, None) if state is None else jnp.split(state, 2, axis=-1)
    forward, backward = (
      gru_scan(cell.params, inputs, start, lengths=lengths, reverse=reverse)
      for cell, start, reverse in (
        (self.forward, states[0], False),
        (self.backward, states[1], True),
      )
    )
    pairs = zip(forward, backward, strict=True)
    outputs, last = (jnp.concatenate(pair, axis=-1) for pair in pairs)
    return outputs, last


class StepAttention(nnx.Module):
  """Attention with one query per step, over keys that are computed once.

      context = Σ_s softmax_s(score(state, memory[s])) memory[s]

  Args:
    width: M, of a state and of the memory.
    score: "additive" (Bahdanau), "dot" or "general" (Luong, neither scaled).
    attend: the attention to call; see `nn.MultiHeadAttention`.
    rngs: Flax NNX random streams; uses "params".
    rule: the deprecated name of `score`.

  Raises:
    ValueError: if the score is none of the three.

  A memory of one slot is the context of any query:

  >>> import jax.numpy as jnp
  >>> from flax import nnx
  >>> layer = StepAttention(3, score="additive", rngs=nnx.Rngs(0))
  >>> memory = jnp.array([[1.0, 2.0, 3.0]])
  >>> layer(jnp.ones(3), memory, layer.prepare(memory)).tolist()
  [1.0, 2.0, 3.0]

  Reference:
    Bahdanau, Cho, Bengio, 2014, arXiv 1409.0473; Luong, Pham, Manning, 2015,
    arXiv 1508.04025.
  """

  def __init__(
    self,
    width: int,
    *,
    score: str = "additive",
    attend: Callable = default_attend,
    rngs: nnx.Rngs,
    rule: str | None = None,
  ):
    if rule is not None:
      warnings.warn(
        "StepAttention: rule= is now score=", DeprecationWarning, stacklevel=2
      )
      score = rule
    if score not in STEP_SCORES:
      raise ValueError(
        f"StepAttention: score must be one of {STEP_SCORES}, got {score!r}"
      )

    # All draws are made for every score, so that with one random key the
    # weights that two scores have in common are equal.
    def square(is_used: bool) -> PyTree:
      kernel = FAN_IN(rngs.params(), (width, width), jnp.float32)
      return nnx.Param(kernel) if is_used else None

    additive = score == "additive"
    self.query_weight = square(score != "dot")
    self.key_weight = square(additive)
    vector = FAN_IN(rngs.params(), (width, 1), jnp.float32)[:, 0]
    self.vector: PyTree = nnx.Param(vector) if additive else None
    self.score = score
    self.attend = attend

  @property
  def scoring(self) -> scorings.Scoring:
    """The score with its parameters, as `attnjax.attend` takes it."""
    if self.score == "dot":
      return scorings.dot()
    if self.score == "general":
      return scorings.general(self.query_weight[...])
    weights = (self.query_weight, self.key_weight, self.vector)
    return scorings.additive(*(weight[...] for weight in weights))

  def prepare(self, memory: Float[Array, "*B S M"]) -> Float[Array, "*B S A"]:
    """Keys ``*B S A`` of a memory, the same at all steps."""
    # A scoring maps queries and keys in one call; an axis T of size 0 costs
    # nothing.
    no_queries = memory[..., None, :0, :]
    return self.scoring.prepare(no_queries, memory)[1]

  def __call__(
    self,
    state: Float[Array, "*B M"],
    memory: Float[Array, "*B S M"],
    keys: Float[Array, "*B S A"],
    *,
    lengths: Int[Array, "*B"] | None = None,
    aux: tuple[str, ...] = (),
  ):
    """Attends by one query, the state, over a memory.

    Args:
      state: the query, ``*B M``.
      memory: the values, ``*B S M``.
      keys: from `prepare`.
      lengths: int ``*B``, slots before the padding; None is S.
      aux: as in `attnjax.attend`, whose axes H and T are 1 here.

    Returns:
      The context ``*B M``; with `aux`, a pair.
    """
    scoring = self.scoring
    query, _ = scoring.prepare(state[..., None, None, :], memory[..., :0, :])

    result = self.attend(
      query,
      keys[..., None, :],
      memory[..., None, :],
      mask=None if lengths is None else masks.lengths(key=lengths),
      scoring=_Prepared(scoring),
      aux=aux,
    )

    context, *extra = result if isinstance(result, tuple) else (result,)
    return (context[..., 0, 0, :], *extra) if aux else context[..., 0, 0, :]


@pytree_dataclass
class _Prepared(scorings.Scoring):
  """A scoring for queries and keys that `prepare` has been applied to."""

  scoring: PyTree

  @property
  def footprint(self):
    return self.scoring.footprint

  def score(self, query, key, precision=None):
    return self.scoring.score(query, key, precision)
