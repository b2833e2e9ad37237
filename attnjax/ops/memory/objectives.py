"""Losses of a memory's output, whose gradient a write descends."""

import dataclasses

import jax.numpy as jnp

from attnjax.typing import Array, Float

__all__ = ["Objective", "dot", "huber", "l2", "l_p", "negative"]


@dataclasses.dataclass(frozen=True)
class Objective:
  """A loss ℓ(M(k), v) of each token: `l2`, `dot`, `huber`, `l_p`, `negative`.

  >>> import jax.numpy as jnp
  >>> l2()(jnp.array([1.0, 2.0]), jnp.array([1.0, 0.0])).item()
  2.0
  """

  @property
  def takes_threshold(self) -> bool:
    """Whether it takes a gate δ per token, as `huber(None)` does."""
    return False

  @property
  def slopes(self) -> tuple[float, float] | None:
    """(p, q) where the derivative by the output is p output - q value.

    None where the derivative is not linear in the output.
    """
    return None

  def __call__(
    self,
    output: Float[Array, "... E"],
    value: Float[Array, "... E"],
    threshold: Float[Array, "..."] | None = None,
  ) -> Float[Array, "..."]:
    """The loss of each token, summed over the features of its value."""
    raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class _L2(Objective):
  @property
  def slopes(self):
    return 1.0, 1.0

  def __call__(self, output, value, threshold=None):
    return ((output - value) ** 2).sum(-1) / 2


@dataclasses.dataclass(frozen=True)
class _Dot(Objective):
  @property
  def slopes(self):
    # The gradient is -v, whatever the memory holds.
    return 0.0, 1.0

  def __call__(self, output, value, threshold=None):
    return -(output * value).sum(-1)


@dataclasses.dataclass(frozen=True)
class _Huber(Objective):
  delta: float | None

  @property
  def takes_threshold(self):
    return self.delta is None

  def __call__(self, output, value, threshold=None):
    error = jnp.abs(output - value)
    delta = threshold[..., None] if self.delta is None else self.delta
    # With w = min(m, δ), w (m - ½ w) is ½ m² up to the threshold and δ (m - ½
    # δ) beyond: one formula, whose gradient needs no `where`.
    within = jnp.minimum(error, delta)
    return (within * (error - within / 2)).sum(-1)


@dataclasses.dataclass(frozen=True)
class _Lp(Objective):
  p: float

  def __call__(self, output, value, threshold=None):
    error = jnp.abs(output - value)
    # For p < 2 the derivative of the power at 0 would be 0 · inf, NaN.
    safe = jnp.where(error > 0, error, 1)
    return jnp.where(error > 0, safe**self.p, 0).sum(-1) / self.p


@dataclasses.dataclass(frozen=True)
class _Negative(Objective):
  objective: Objective

  @property
  def takes_threshold(self):
    return self.objective.takes_threshold

  @property
  def slopes(self):
    inner = self.objective.slopes
    return None if inner is None else (-inner[0], -inner[1])

  def __call__(self, output, value, threshold=None):
    return -self.objective(output, value, threshold)


def l2() -> Objective:
  """Squared distance, ℓ = ½ ‖M(k) - v‖².

  With the factor ½, one step of rate 1 on a unit key makes a matrix output v.
  The Titans paper has no ½ (its equation 12): its θ is half of ours.

  >>> import jax.numpy as jnp
  >>> l2()(jnp.zeros(3), jnp.ones(3)).item()
  1.5

  Reference:
    Widrow, Hoff, "Adaptive switching circuits", 1960; Behrouz, Zhong, Mirrokni,
    "Titans: Learning to Memorize at Test Time", 2025, arXiv 2501.00663.
  """
  return _L2()


def dot() -> Objective:
  """Negative inner product, ℓ = - M(k) · v.

  Its gradient does not depend on M(k). With a matrix it is linear attention, or
  Hebb's rule.

  >>> import jax.numpy as jnp
  >>> dot()(jnp.ones(3), jnp.ones(3)).item()
  -3.0

  Reference:
    Katharopoulos et al., "Transformers are RNNs: Fast Autoregressive
    Transformers with Linear Attention", 2020, arXiv 2006.16236.
  """
  return _Dot()


def huber(delta: float | None = 1.0) -> Objective:
  """Huber loss of each feature's error m = |M(k) - v|.

      ℓ = Σ_e ½ m² where m <= δ, δ (m - ½ δ) where m > δ

  Args:
    delta: δ > 0; None takes it from `Gates.threshold`, one a token.

  Raises:
    ValueError: if delta is not above 0.

  >>> import jax.numpy as jnp
  >>> huber(1.0)(jnp.zeros(2), jnp.array([1.0, 3.0])).item()
  3.0

  Reference:
    Huber, "Robust Estimation of a Location Parameter", 1964; in a
    memory (Yaad): Behrouz et al., "It's All Connected: A Journey Through
    Test-Time Memorization, Attentional Bias, Retention, and Online
    Optimization", 2025, arXiv 2504.13173.
  """
  if delta is not None and not delta > 0:
    raise ValueError(f"huber: delta must be above 0, got {delta}")
  return _Huber(delta)


def l_p(p: float = 3.0) -> Objective:
  """Power of the error, ℓ = 1/p Σ_e |M(k) - v|^p; p = 2 is `l2`.

  Args:
    p: above 1, so that the gradient is continuous.

  Raises:
    ValueError: if p is not above 1.

  >>> import jax.numpy as jnp
  >>> l_p(3.0)(jnp.zeros(1), jnp.full(1, 3.0)).item()
  9.0

  Reference:
    Behrouz et al., "It's All Connected", 2025, arXiv 2504.13173 (Moneta).
  """
  if not p > 1:
    raise ValueError(f"l_p: p must be above 1, got {p}")
  return _Lp(p)


def negative(objective: Objective) -> Objective:
  """The negated objective, as a control: writes ascend it.

  Args:
    objective: the loss to ascend.

  >>> import jax.numpy as jnp
  >>> negative(l2())(jnp.zeros(3), jnp.ones(3)).item()
  -1.5

  Reference:
    "Test-Time Training with KV Binding Is Secretly Linear Attention", 2026,
    arXiv 2602.21204, finds that ascent may serve a task as well.
  """
  return _Negative(objective)
