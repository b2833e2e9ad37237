"""Retentions: decay of a memory, and its weights from the accumulator.

Steps are summed in an accumulator, A[t] = (1 - α[t]) A[t-1] + step[t]. The
weights of the network are a function of it, W = link(A), the mirror map of the
regulariser that corresponds to the retention.
"""

import dataclasses

import jax
import jax.numpy as jnp

from attnjax.typing import Array

__all__ = ["Retention", "channel_decay", "decay", "kl", "l_q", "none"]


@dataclasses.dataclass(frozen=True)
class Retention:
  """Decay and link of an accumulator: `none`, `decay`, `l_q`, `kl` and more.

  Args:
    decays: whether there is a gate α of decay.

  >>> decay().decays, none().decays
  (True, False)
  """

  decays: bool = True

  @property
  def is_plain(self) -> bool:
    """Whether the weights are the accumulator itself."""
    return True

  @property
  def by_channel(self) -> bool:
    """Whether each feature of the keys has a decay of its own."""
    return False

  def link(self, accumulator: dict[str, Array]) -> dict[str, Array]:
    """The weights of an accumulator, map by map."""
    return accumulator


@dataclasses.dataclass(frozen=True)
class _ChannelDecay(Retention):
  @property
  def by_channel(self):
    return True


@dataclasses.dataclass(frozen=True)
class _Lq(Retention):
  q: float = 4.0

  @property
  def is_plain(self):
    # Then the power below is 0, and the norm divides by 1.
    return self.q == 2

  def link(self, accumulator):
    return {name: self._normalize(a) for name, a in accumulator.items()}

  def _normalize(self, a):
    total = (jnp.abs(a) ** self.q).sum((-2, -1), keepdims=True)
    # Weights of an accumulator of 0 are 0, not 0 / 0.
    empty = total == 0
    power = jnp.where(empty, 1, total) ** ((self.q - 2) / self.q)
    return jnp.where(empty, 0, a / power)


@dataclasses.dataclass(frozen=True)
class _Kl(Retention):
  scale: float = 1.0

  @property
  def is_plain(self):
    return False

  def link(self, accumulator):
    return {
      # Axis -2 are the inputs of a map ``I O``; see `kl`.
      name: self.scale * jax.nn.softmax(a, axis=-2)
      for name, a in accumulator.items()
    }


def none() -> Retention:
  """No decay: A[t] = A[t-1] + step[t], W = A.

  >>> import jax.numpy as jnp
  >>> none().link({"map_0": jnp.ones((1, 1))})["map_0"].item()
  1.0
  """
  return Retention(decays=False)


def decay() -> Retention:
  """Weight decay by a gate α: A[t] = (1 - α[t]) A[t-1] + step[t].

  >>> decay().is_plain
  True

  Reference:
    Behrouz, Zhong, Mirrokni, "Titans: Learning to Memorize at Test Time", 2025,
    arXiv 2501.00663, equation 13.
  """
  return Retention()


def channel_decay() -> Retention:
  """Decay by a gate for each feature of the keys: A[t] = diag(1 - α[t]) A[t-1].

  So that one feature may forget in tokens and another in thousands. The gate
  `decay` is ``*B T H D``. Only of a matrix; see `Rule`.

  >>> channel_decay().by_channel
  True

  Reference:
    Yang et al., "Gated Linear Attention Transformers with Hardware-Efficient
    Training", 2023, arXiv 2312.06635; with a delta rule: Kimi Team, "Kimi
    Linear: An Expressive, Efficient Attention Architecture", 2025, arXiv
    2510.26692.
  """
  return _ChannelDecay()


def l_q(q: float = 4.0) -> Retention:
  """Decay, and weights W = A / ‖A‖_q^(q-2); q = 2 is `decay`.

  For q > 2 a small accumulator gives large weights, so initial weights should
  not be small.

  Args:
    q: of the norm over all entries of a map, above 1.

  Raises:
    ValueError: if q is not above 1.

  >>> import jax.numpy as jnp
  >>> l_q(4.0).link({"map_0": jnp.full((1, 1), 2.0)})["map_0"].item()
  0.5

  Reference:
    Behrouz et al., "It's All Connected", 2025, arXiv 2504.13173 (Moneta).
  """
  if not q > 1:
    raise ValueError(f"l_q: q must be above 1, got {q}")
  return _Lq(q=q)


def kl(scale: float = 1.0) -> Retention:
  """Retention by relative entropy: weights W = scale · softmax(A).

      W[t] = scale · softmax((1 - α[t]) log W[t-1] + step[t])

  over the inputs of a map: an output is `scale` times a mean of the inputs. The
  accumulator is log W up to a constant, which the softmax ignores.

  Args:
    scale: what the weights of an output sum to, above 0.

  Raises:
    ValueError: if the scale is not above 0.

  >>> import jax.numpy as jnp
  >>> kl().link({"map_0": jnp.zeros((2, 1))})["map_0"].tolist()
  [[0.5], [0.5]]

  Reference:
    Behrouz et al., "It's All Connected", 2025, arXiv 2504.13173 (Memora). It
    does not say over which axis it normalises; the inputs are our choice.
  """
  if not scale > 0:
    raise ValueError(f"kl: scale must be above 0, got {scale}")
  return _Kl(scale=scale)
