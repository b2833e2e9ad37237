"""The hard glimpse as a random choice: one part, drawn, and nothing else."""

import dataclasses

import jax
import jax.numpy as jnp

from attnjax.ops.glimpse.primitive import apply
from attnjax.ops.glimpse.weigh import scaled
from attnjax.typing import Array, Bool, Float, Int, Key

__all__ = ["Draw", "draw"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Draw:
  """What was drawn, one a row of logits.

  Args:
    index: int32, the part that was looked at; -1 where none could be.
    log_probability: of that choice; 0 where there was none. Its gradient
      reaches the logits, and is the score function.

  >>> import jax
  >>> import jax.numpy as jnp
  >>> logits = jnp.array([0.0, -jnp.inf])
  >>> _, drawn = draw(jnp.ones(2), logits, jax.random.key(0))
  >>> int(drawn.index), float(drawn.log_probability)
  (0, 0.0)
  """

  index: Int[Array, "..."]
  log_probability: Float[Array, "..."]


def draw(
  inputs: Float[Array, "..."],
  logits: Float[Array, "..."],
  key: Key[Array, ""],
  *,
  axis: int = -1,
  temperature: float | Float[Array, ""] = 1.0,
  pool: bool = False,
  mask: Bool[Array, "..."] | None = None,
) -> tuple[Float[Array, "..."], Draw]:
  """A hard glimpse: one part of each row, drawn from the softmax of the logits.

      i ~ softmax(logits / temperature),   out = inputs ⊙ onehot(i)

  The output has no gradient to the logits, for a choice has none: give the loss
  to `score_function` with the draw's log-probability. For the likeliest part,
  with a gradient straight through, take ``glimpse(normalizer="hard")``; of
  logits with Gumbel noise that is a draw too, and its gradient, though biased,
  has little variance.

  Args:
    inputs: as for `glimpse`.
    logits: as for `glimpse`, and they lie on the inputs by the same rule.
    key: of the draw; each row of logits draws for itself.
    axis: as for `glimpse`.
    temperature: as for `glimpse`.
    pool: whether to sum over the axis, so that the part itself is returned.
    mask: as for `glimpse`; what is hidden is never drawn.

  Returns:
    The glimpse, and what was drawn.

  Raises:
    ValueError: as `glimpse` does.

  >>> import jax
  >>> import jax.numpy as jnp
  >>> x = jnp.array([3.0, 5.0, 7.0])
  >>> out, drawn = draw(x, jnp.zeros(3), jax.random.key(0), pool=True)
  >>> bool(out == x[drawn.index])
  True
  >>> round(float(jnp.exp(drawn.log_probability)), 3)
  0.333

  Reference:
    Mnih, Heess, Graves, Kavukcuoglu, "Recurrent Models of Visual Attention",
    2014, arXiv 1406.6247; Xu et al., "Show, Attend and Tell", 2015, arXiv
    1502.03044, section 4.1. Gumbel noise: Jang, Gu, Poole, "Categorical
    Reparameterization with Gumbel-Softmax", 2016, arXiv 1611.01144.
  """
  inputs, logits = jnp.asarray(inputs), jnp.asarray(logits)
  with jax.named_scope("glimpse"):
    given = scaled(inputs, logits, axis, temperature, mask)
    layout = given.layout
    rows = layout.rows(given.logits)
    seen = layout.rows(given.seen).any(axis=-1)
    index = _indices(key, rows, seen)
    length = rows.shape[-1]
    # One-hot of -1, of a row that sees nothing, is 0 everywhere.
    weights = layout.back(jax.nn.one_hot(index, length, dtype=rows.dtype))
    out = apply(inputs, weights, given.seen, layout.axis, pool)
    shape = layout.row_shape(given.logits.shape)
    logs = _log_probabilities(rows, index, seen)
    return out, Draw(index.reshape(shape), logs.reshape(shape))


def _indices(key, rows, seen):
  """A part of each row, -1 where there is none to see."""
  if rows.shape[-1] == 0:
    return jnp.full(rows.shape[:-1], -1, jnp.int32)
  index = jax.random.categorical(key, rows, axis=-1).astype(jnp.int32)
  return jnp.where(seen, index, -1)


def _log_probabilities(rows, index, seen):
  """log softmax of the part drawn; 0 with gradient 0 where there is none."""
  chosen = jax.nn.one_hot(index, rows.shape[-1], dtype=jnp.bool_)
  logit = jnp.where(chosen, rows, 0).sum(axis=-1)
  safe = jnp.where(seen[..., None], rows, 0)
  total = jax.nn.logsumexp(safe, axis=-1) if rows.shape[-1] else 0
  return jnp.where(seen, logit - total, 0)
