"""One call of attention, checked: what every implementation receives."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from attnjax.ops.grid import Grid, row
from attnjax.ops.masks import Mask
from attnjax.ops.normalizers import Normalizer
from attnjax.ops.score_mods import ScoreMod
from attnjax.ops.scoring import Scoring
from attnjax.typing import Array, Bool, Float, Int, PrecisionLike

__all__ = ["AUX", "Aux", "Call"]

AUX = ("logsumexp", "weights", "entropy", "max_logit")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Aux:
  """What attention knows beside its output; None is what was not asked for.

  Args:
    logsumexp: ``*B H T`` float32, log Σ_s exp(logit), -inf where nothing is
      seen; differentiable.
    weights: ``*B H T S``, rows sum to 1, or to 0 where nothing is seen.
    entropy: ``*B H T``, -Σ_s w log w, in nats.
    max_logit: ``*B H T``, the largest logit seen, -inf where none is.

  >>> import attnjax, jax.numpy as jnp
  >>> x = jnp.ones((3, 1, 2))
  >>> _, aux = attnjax.attend(x, x, x, aux=("weights",))
  >>> aux.weights.shape, aux.entropy is None
  ((1, 3, 3), True)
  """

  logsumexp: Float[Array, "*B H T"] | None = None
  weights: Float[Array, "*B H T S"] | None = None
  entropy: Float[Array, "*B H T"] | None = None
  max_logit: Float[Array, "*B H T"] | None = None


class Call(NamedTuple):
  """The arguments of `attend` after its checks, defaults filled in.

  `mask` is the rule of positions, `visible` an array aligned with the indices;
  a key must pass both, and be of the query's segment.
  """

  query: Float[Array, "*B T H D"]
  key: Float[Array, "*B S K D"]
  value: Float[Array, "*B S K E"]
  mask: Mask | None
  visible: Bool[Array, "*#B #H #T #S"] | None
  bias: Float[Array, "*#B #H #T #S"] | None
  score_mod: ScoreMod | None
  scoring: Scoring
  normalizer: Normalizer
  query_positions: Int[Array, "*#B T"] | None
  key_positions: Int[Array, "*#B S"] | None
  query_segment_ids: Int[Array, "*#B T"] | None
  key_segment_ids: Int[Array, "*#B S"] | None
  logits_dtype: jnp.dtype
  precision: PrecisionLike
  aux: tuple[str, ...]

  @property
  def shape(self) -> tuple[int, ...]:
    """``*B H T S``, the shape of the logits."""
    *batch, length, heads, _ = self.query.shape
    return (*batch, heads, length, self.key.shape[-3])

  @property
  def group(self) -> int:
    """Query heads a key head serves, G = H // K."""
    return self.query.shape[-2] // self.key.shape[-2]

  def grid(self) -> Grid:
    """The coordinates of every logit of the call."""
    *batch, heads, length, keys = self.shape
    return Grid.of(
      tuple(batch),
      heads,
      length,
      keys,
      self.query_positions,
      self.key_positions,
    )

  def same_segment(self) -> Bool[Array, "..."] | None:
    """Which query and key are of one segment; None without segments."""
    if self.query_segment_ids is None or self.key_segment_ids is None:
      return None
    rank = len(self.shape)
    queries = row(self.query_segment_ids, rank, query=True)
    return queries == row(self.key_segment_ids, rank, query=False)
