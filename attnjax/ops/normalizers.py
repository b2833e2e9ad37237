"""Normalizers: functions from a row of logits to a row of weights.

A normalizer is a frozen pytree, called as ``normalizer(logits)`` on
``*B H T S``, where -inf marks a hidden key. It returns the weights and the
log-sum-exp of the logits that are not hidden.
"""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp

from attnjax.ops.pytree_dataclass import pytree_dataclass, static
from attnjax.ops.value import Value, format_call
from attnjax.typing import Array, Bool, Float

__all__ = [
  "Normalizer",
  "sigmoid",
  "softmax",
  "softmax_plus_one",
  "top_k",
]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Normalizer(Value):
  """Base of normalizers: how logits become weights; see `softmax`.

  `attend` uses only `keep`, `weigh` and `factor`, tile by tile; a call on whole
  rows gives weights and log-sum-exp. Either the keys of a row compete, as under
  softmax,

      weight[s] = exp(logit[s] - L) · factor(L),   L = log Σ_s exp(logit[s])

  or each key has a weight that depends on its own logit only, weight[s] =
  weigh(logit[s]). Logits beyond the `keep` largest of their row are hidden. L
  is over the logits that are not hidden; -inf, with gradient 0, if all are.

  >>> import jax.numpy as jnp
  >>> from attnjax import normalizers
  >>> weights, logsumexp = normalizers.softmax()(jnp.zeros((1, 1, 1, 4)))
  >>> weights[0, 0, 0].tolist(), round(float(jnp.exp(logsumexp[0, 0, 0])))
  ([0.25, 0.25, 0.25, 0.25], 4)
  """

  @property
  def keep(self) -> int | None:
    """How many of a row's largest logits are not hidden; None is all."""
    return None

  @property
  def shares(self) -> bool:
    """Whether the keys of a row compete, as under softmax."""
    if type(self).weigh is Normalizer.weigh:
      return True
    # A normalizer that wraps another overrides `weigh` and may return the None
    # of the inner one, so the answer is known by a call only.
    return self.weigh(jnp.zeros(())) is None

  def weigh(self, logits: Float[Array, "..."]) -> Float[Array, "..."] | None:
    """Weight of each logit on its own; None if the keys of a row compete."""
    return None

  def factor(
    self, logsumexp: Float[Array, "..."]
  ) -> Float[Array, "..."] | None:
    """Sum of the weights of a row, from its log-sum-exp ``*B H T``; None is 1.

    Value and gradient are 0 where the log-sum-exp is -inf.
    """
    return None

  def validate(self, heads: int) -> None:
    """Raises ValueError if a captured array does not fit the query heads H."""

  def __call__(
    self, logits: Float[Array, "... S"]
  ) -> tuple[Float[Array, "... S"], Float[Array, "..."]]:
    """(weights, log-sum-exp) of each row; "*B H T S" where heads matter."""
    if self.keep is not None:
      logits = jnp.where(largest(logits, self.keep), logits, -jnp.inf)

    weights, logsumexp = _softmax(logits)
    weighed = self.weigh(logits)
    if weighed is not None:
      return weighed, logsumexp

    factor = self.factor(logsumexp)
    if factor is not None:
      weights = weights * factor[..., None]
    return weights, logsumexp


def largest(logits: Float[Array, "... S"], k: int) -> Bool[Array, "... S"]:
  """Marks the k largest logits of each row; ties go to the lowest index."""
  k = min(k, logits.shape[-1])
  # By index, not by comparison with the k-th largest: of ties exactly k are
  # kept, and a NaN, which sorts as the largest, is not lost.
  _, index = jax.lax.top_k(jax.lax.stop_gradient(logits), k)
  kept = jnp.zeros(logits.shape, bool)
  return jnp.put_along_axis(kept, index, True, axis=-1, inplace=False)


def _softmax(logits):
  """Softmax weights, 0 where nothing is seen, and the log-sum-exp."""
  # Subtracting the maximum changes no value, so it needs no gradient.
  top = jax.lax.stop_gradient(
    jnp.max(logits, axis=-1, keepdims=True, initial=-jnp.inf)
  )
  # -inf - -inf would be NaN.
  top = jnp.where(jnp.isfinite(top), top, 0)

  unnormalized = jnp.exp(logits - top)
  total = jnp.sum(unnormalized, axis=-1, keepdims=True)

  # The sum is 0 exactly where all logits are hidden; otherwise the largest
  # contributes 1. As `~(== 0)` a sum of NaN counts as seen and stays NaN.
  seen = ~(total == 0)

  # `where` before the division and the log, or their gradient would be NaN.
  safe = jnp.where(seen, total, 1)
  logsumexp = jnp.where(seen, jnp.log(safe) + top, -jnp.inf)
  return unnormalized / safe, logsumexp[..., 0]


@pytree_dataclass
class _Softmax(Normalizer):
  """The normalizer of `softmax` without a sink: the defaults of the base."""

  def __repr__(self):
    return "softmax()"


@pytree_dataclass
class _PlusOne(Normalizer):
  """The normalizer of `softmax_plus_one`."""

  def __repr__(self):
    return "softmax_plus_one()"

  def factor(self, logsumexp):
    return _share(logsumexp, jnp.zeros_like(logsumexp))


@pytree_dataclass
class _Sink(Normalizer):
  """The normalizer of `softmax` with a sink."""

  sink: Any

  def __repr__(self):
    return format_call("softmax", sink=self.sink)

  def factor(self, logsumexp):
    sink = jnp.asarray(self.sink).astype(logsumexp.dtype)
    if sink.ndim:
      sink = sink[:, None]  # H 1, for log-sum-exp *B H T
    sink = sink.reshape((1,) * (logsumexp.ndim - sink.ndim) + sink.shape)
    return _share(logsumexp, sink)

  def validate(self, heads):
    if jnp.shape(self.sink) not in ((), (heads,)):
      raise ValueError(
        f"normalizer softmax: sink has shape {list(jnp.shape(self.sink))},"
        f" expected one logit a query head, [{heads}], or a scalar"
      )


def _share(logsumexp, sink):
  """exp(L - log(exp(L) + exp(sink))) = sigmoid(L - sink), 0 where L = -inf."""
  # The sigmoid under- and overflows to 0 and 1 with gradient 0; only -inf less
  # a sink of -inf would be NaN.
  seen = ~jnp.isneginf(logsumexp)
  share = jax.nn.sigmoid(jnp.where(seen, logsumexp, 0) - sink)
  return jnp.where(seen, share, 0)


def softmax(
  sink: Float[Array, " H"] | Float[Array, ""] | float | None = None,
) -> Normalizer:
  """Softmax, weight[s] = exp(logit[s]) / (Σ_s exp(logit[s]) + exp(sink)).

  A sink is the logit of a key without a value: it takes weight from the others,
  which then sum to less than 1. A row whose keys are all hidden has weights 0
  and log-sum-exp -inf, and its gradients are 0, never NaN.

  Args:
    sink: one logit a query head, ``H``, or a scalar for all; gradients reach
      it. The log-sum-exp leaves it out. None (or -inf) is no sink.

  Raises:
    ValueError: in `attend`, if the sink has another shape.

  >>> import jax.numpy as jnp
  >>> weights, _ = softmax()(jnp.array([[1e4, 1e4], [-jnp.inf, -jnp.inf]]))
  >>> weights.tolist()
  [[0.5, 0.5], [0.0, 0.0]]
  >>> weights, _ = softmax(sink=jnp.log(2.0))(jnp.zeros((1, 1, 2)))
  >>> jnp.round(weights, 6).tolist()
  [[[0.25, 0.25]]]

  Reference:
    Bridle, "Probabilistic Interpretation of Feedforward Classification Network
    Outputs", 1990. Xiao, Tian, Chen, Han, Lewis, "Efficient Streaming Language
    Models with Attention Sinks", 2023, arXiv 2309.17453. A learned sink a head
    as here: OpenAI, "gpt-oss-120b & gpt-oss-20b Model Card", 2025, arXiv
    2508.10925, section 2.2.
  """
  # A class of its own without a sink: it then has no `factor` to multiply by.
  return _Softmax() if sink is None else _Sink(sink)


def softmax_plus_one() -> Normalizer:
  """Softmax off by one, weight[s] = exp(logit[s]) / (1 + Σ_s exp(logit[s])).

  Where all logits are very negative, all weights are near 0, so that a head can
  add nothing. It is `softmax` with a sink of logit 0.

  >>> import jax.numpy as jnp
  >>> weights, _ = softmax_plus_one()(jnp.array([[0.0, 0.0], [-99.0, -99.0]]))
  >>> [round(x, 3) for x in weights.sum(-1).tolist()]
  [0.667, 0.0]

  Reference:
    Miller, "Attention Is Off By One", 2023,
    https://www.evanmiller.org/attention-is-off-by-one.html
  """
  return _PlusOne()


@pytree_dataclass
class _Sigmoid(Normalizer):
  """The normalizer of `sigmoid`."""

  bias: float = static()

  def __repr__(self):
    return format_call("sigmoid", bias=self.bias or None)

  def weigh(self, logits):
    return jax.nn.sigmoid(logits + self.bias)


def sigmoid(bias: float = 0.0) -> Normalizer:
  """Sigmoid of each logit, weight[s] = 1 / (1 + exp(-logit[s] - bias)).

  Keys do not compete: a row sums to anything from 0 to S. Hidden keys have
  weight 0, and the bias is no part of the log-sum-exp.

  Args:
    bias: added to every logit, finite; the paper takes -log(S), with which a
      row begins at a sum near 1 as under softmax.

  Raises:
    ValueError: if the bias is not a finite number.

  >>> import jax.numpy as jnp
  >>> weights, _ = sigmoid()(jnp.array([0.0, 0.0, 99.0, -jnp.inf]))
  >>> weights.tolist()
  [0.5, 0.5, 1.0, 0.0]

  Reference:
    Ramapuram et al., "Theory, Analysis, and Best Practices for Sigmoid
    Self-Attention", 2024, arXiv 2409.04431, equation 3.
  """
  if not (isinstance(bias, int | float) and math.isfinite(bias)):
    raise ValueError(
      f"normalizer sigmoid: bias must be a finite Python number, got {bias!r};"
      " one that is learned or differs between keys is the bias= of attend"
    )
  # Static: a bias that is learned, or differs by key, is `bias=` of `attend`.
  return _Sigmoid(float(bias))


@pytree_dataclass
class _TopK(Normalizer):
  """The normalizer of `top_k`."""

  k: int = static()

  def __repr__(self):
    return format_call("top_k", self.k)

  @property
  def keep(self):
    return self.k


def top_k(k: int) -> Normalizer:
  """Softmax over the k largest logits of each row; all others count as hidden.

  Of equal logits the first keys are taken, so that never more than k are. The
  choice carries no gradient: what was not chosen has gradient 0. k = 1 is hard
  attention, weight 1 on the best key, whose logits then get no gradient at all.

  Args:
    k: how many keys a query reads, >= 1; k >= S is softmax.

  Raises:
    ValueError: if k is not a positive Python int.

  >>> import jax.numpy as jnp
  >>> weights, _ = top_k(2)(jnp.array([3.0, 5.0, 3.0, 5.0, 5.0]))
  >>> weights.tolist()
  [0.0, 0.5, 0.0, 0.5, 0.0]

  Reference:
    Zhao et al., "Explicit Sparse Transformer: Concentrated Attention Through
    Explicit Selection", 2019, arXiv 1912.11637.
  """
  if not isinstance(k, int) or isinstance(k, bool) or k < 1:
    raise ValueError(
      f"normalizer top_k: k must be a Python int >= 1, got {k!r}; it decides"
      " shapes, so it cannot be an array"
    )
  return _TopK(k)
