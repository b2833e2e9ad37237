"""One call of attention, checked: what every implementation receives."""

import dataclasses

import jax
import jax.numpy as jnp

from attnjax.ops.attention.logits import Rules
from attnjax.ops.divided import parted
from attnjax.ops.grid import Grid
from attnjax.ops.known import poison
from attnjax.ops.node import node, static
from attnjax.ops.normalizers import Normalizer
from attnjax.ops.scoring import Scoring
from attnjax.typing import Array, Bool, Float, Int, PrecisionLike, Shaped

__all__ = ["AUX", "Aux", "Call"]

AUX = ("logsumexp", "weights", "entropy", "max_logit")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Aux:
  """What attention knows beside its output; None is what was not asked for.

  Args:
    logsumexp: ``*B H T`` float32, log Σ_s exp(logit) over the keys that count,
      -inf where nothing is seen; differentiable.
    weights: ``*B H T S``, before dropout.
    entropy: ``*B H T``, -Σ_s w log w, in nats.
    max_logit: ``*B H T``, the largest logit seen, -inf where none is; of equal
      ones the first carries the gradient.

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


@node
class Call:
  """The arguments of `attend` after its checks, defaults filled in.

  However many batch axes the caller has, here there is one.
  """

  query: Float[Array, "B T H D"]
  key: Float[Array, "B S K D"]
  value: Float[Array, "B S K E"]
  rules: Rules
  scoring: Scoring
  normalizer: Normalizer
  query_positions: Int[Array, "#B T"] | None
  key_positions: Int[Array, "#B S"] | None
  dropout_words: Shaped[Array, "2"] | None
  # Queries of which an argument turns out at run time to be out of range.
  wrong: Bool[Array, "#B #T"] | None
  dropout_rate: float = static()
  dropout_shared: bool = static()
  logits_dtype: jnp.dtype = static()
  precision: PrecisionLike = static()
  aux: tuple[str, ...] = static()

  @property
  def shape(self) -> tuple[int, int, int, int]:
    """``B H T S``, the shape of the logits."""
    batch, length, heads, _ = self.query.shape
    return batch, heads, length, self.key.shape[1]

  @property
  def group(self) -> int:
    """Query heads a key head serves, G = H // K."""
    return self.query.shape[2] // self.key.shape[2]

  @property
  def footprint(self) -> int:
    """Numbers held for each logit while it, or its gradient, is made."""
    mod = self.rules.score_mod
    return max(self.scoring.footprint, 1 if mod is None else mod.footprint)

  @property
  def positioned(self) -> bool:
    """Whether arrays say where a token stands, or of which segment it is."""
    arrays = (
      self.query_positions,
      self.key_positions,
      self.rules.query_segment_ids,
    )
    return any(x is not None for x in arrays)

  def grid(self) -> Grid:
    """The coordinates of every logit of the call."""
    batch, heads, length, keys = self.shape
    return Grid.of(
      (batch,),
      heads,
      length,
      keys,
      self.query_positions,
      self.key_positions,
    )

  def answer(self, out, aux: Aux, batch: tuple[int, ...], *like):
    """What `attend` returns: wrong queries read NaN, batch axes are back.

    They are divided as those of the arrays that it is to be like.
    """
    if self.wrong is not None:
      out = poison(out, self.wrong)
      aux = poison(aux, self.wrong[:, None])
    out, aux = jax.tree.map(lambda x: parted(x, batch, *like), (out, aux))
    return (out, aux) if self.aux else out

  def prepared(self) -> tuple[Array, Array, Array]:
    """Queries ``B K G T D``, keys ``B K S D`` and values ``B K S E``.

    Queries and keys are in the dtype of the logits and ready to be scored.
    """
    batch, length, heads, width = self.query.shape
    grouped = (batch, length, heads // self.group, self.group, width)
    query = self.query.astype(self.logits_dtype).reshape(grouped)
    query = jnp.moveaxis(query, 1, 3)
    key, value = (jnp.moveaxis(x, 1, 2) for x in (self.key, self.value))
    key = key.astype(self.logits_dtype)
    return *self.scoring.prepare(query, key, self.precision), value
