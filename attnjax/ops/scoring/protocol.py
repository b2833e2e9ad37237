"""What a scoring is: how a query and a key make a logit.

A scoring is a frozen pytree of two parts. `prepare` does what is done once to
every query and every key (scale, normalize, project); `score` lets prepared
ones meet, and is exact on any slice of them, so that an engine may go tile by
tile. One key head serves G query heads.
"""

import dataclasses

import jax
import jax.numpy as jnp

from attnjax.ops.value import Value
from attnjax.typing import Array, Float, PrecisionLike

__all__ = ["Scoring"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Scoring(Value):
  """How a query and a key make a logit; see `dot` and its neighbours.

      logit[t, s] = score(q'[t], k'[s]),   q', k' = prepare(q, k)

  Results have the dtype of the query, which `attend` has raised to the dtype
  of the logits; captured arrays are cast to it. The widths of q' and k' may
  differ from D.

  >>> import jax.numpy as jnp
  >>> from attnjax import scoring
  >>> rule, q, k = scoring.scaled_dot(), jnp.ones((1, 5, 4)), jnp.ones((3, 4))
  >>> prepared_q, prepared_k = rule.prepare(q, k)
  >>> tile = rule.score(prepared_q[:, 2:4], prepared_k[1:])
  >>> bool((tile == rule(q, k)[:, 2:4, 1:]).all())
  True
  """

  @property
  def footprint(self) -> int:
    """Numbers held for each logit while it is made; 1 for a dot product."""
    return 1

  def prepare(
    self,
    query: Float[Array, "... G T D"],
    key: Float[Array, "... S D"],
    precision: PrecisionLike = None,
  ) -> tuple[Float[Array, "... G T A"], Float[Array, "... S A"]]:
    """What is done once to all queries and keys before any of them meet."""
    return query, key

  def score(
    self,
    query: Float[Array, "... G T A"],
    key: Float[Array, "... S A"],
    precision: PrecisionLike = None,
  ) -> Float[Array, "... G T S"]:
    """Logits of prepared queries against prepared keys."""
    # One axis of all queries a key serves: of two, the compiler would transpose
    # every tile of the gradient to bring them together.
    *lead, group, length, width = query.shape
    query = query.reshape((*lead, group * length, width))
    logits = jnp.einsum("...td,...sd->...ts", query, key, precision=precision)
    return logits.reshape((*lead, group, length, key.shape[-2]))

  def __call__(
    self,
    query: Float[Array, "... G T D"],
    key: Float[Array, "... S D"],
    precision: PrecisionLike = None,
  ) -> Float[Array, "... G T S"]:
    """Logits of every query against every key."""
    return self.score(*self.prepare(query, key, precision), precision)

  def validate(self, width: int) -> None:
    """Raises ValueError if a captured array does not fit the width D."""
