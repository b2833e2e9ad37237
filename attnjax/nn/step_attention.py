"""Attention for a recurrence: one query a step over a memory that stays."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from attnjax.ops import masks
from attnjax.ops import scoring as scorings
from attnjax.ops.attention import attend as default_attend
from attnjax.ops.node import node
from attnjax.typing import Array, Float, Int

__all__ = ["RULES", "StepAttention"]

RULES = ("additive", "dot", "general")

_FAN_IN = jax.nn.initializers.variance_scaling(1.0, "fan_in", "normal")


class StepAttention(nnx.Module):
  """Attention by one query at a time, its keys prepared once.

      context = Σ_s softmax_s(score(state, memory[s])) memory[s]

  Args:
    width: M, of a state and of the memory.
    rule: "additive" (Bahdanau), "dot" or "general" (Luong, neither scaled).
    attend: the attention to call; see `nn.MultiHeadAttention`.
    rngs: Flax NNX random streams; uses "params".

  Raises:
    ValueError: if the rule is none of the three.

  A memory of one slot is read whatever the query:

  >>> import jax.numpy as jnp
  >>> from flax import nnx
  >>> layer = StepAttention(3, rule="additive", rngs=nnx.Rngs(0))
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
    rule: str = "additive",
    attend: Callable = default_attend,
    rngs: nnx.Rngs,
  ):
    if rule not in RULES:
      raise ValueError(
        f"StepAttention: rule must be one of {RULES}, got {rule!r}"
      )

    def square(has) -> Any:
      kernel = _FAN_IN(rngs.params(), (width, width), jnp.float32)
      return nnx.Param(kernel) if has else None

    additive = rule == "additive"
    self.query_weight = square(rule != "dot")
    self.key_weight = square(additive)
    vector = _FAN_IN(rngs.params(), (width, 1), jnp.float32)[:, 0]
    self.vector: Any = nnx.Param(vector) if additive else None
    self.rule = rule
    self.attend = attend

  @property
  def scoring(self) -> scorings.Scoring:
    """The rule with its parameters, as `attnjax.attend` takes it."""
    if self.rule == "dot":
      return scorings.dot()
    if self.rule == "general":
      return scorings.general(self.query_weight[...])
    weights = (self.query_weight, self.key_weight, self.vector)
    return scorings.additive(*(weight[...] for weight in weights))

  def prepare(self, memory: Float[Array, "*B S M"]) -> Float[Array, "*B S A"]:
    """Keys of a memory, for all steps."""
    nobody = memory[..., None, :0, :]
    return self.scoring.prepare(nobody, memory)[1]

  def __call__(
    self,
    state: Float[Array, "*B M"],
    memory: Float[Array, "*B S M"],
    keys: Float[Array, "*B S A"],
    *,
    lengths: Int[Array, "*B"] | None = None,
    aux: tuple[str, ...] = (),
  ):
    """What the state reads in the memory.

    Args:
      state: what asks, ``*B M``.
      memory: what is read, ``*B S M``.
      keys: from `prepare`.
      lengths: int ``*B``, slots that are real; None is all.
      aux: as in `attnjax.attend`, whose axes H and T are 1 here.

    Returns:
      The context ``*B M``; with `aux`, a pair.
    """
    rule = self.scoring
    query, _ = rule.prepare(state[..., None, None, :], memory[..., :0, :])
    result = self.attend(
      query,
      keys[..., None, :],
      memory[..., None, :],
      mask=None if lengths is None else masks.lengths(key=lengths),
      scoring=_Prepared(rule),
      aux=aux,
    )
    context, *extra = result if isinstance(result, tuple) else (result,)
    return (context[..., 0, 0, :], *extra) if aux else context[..., 0, 0, :]


@node
class _Prepared(scorings.Scoring):
  """A scoring whose queries and keys come prepared."""

  rule: Any

  @property
  def footprint(self):
    return self.rule.footprint

  def score(self, query, key, precision=None):
    return self.rule.score(query, key, precision)
