"""Hard glimpses: one part sampled per row, and REINFORCE for its gradient."""

import dataclasses

import jax
import jax.numpy as jnp

from attnjax.ops.glimpse.primitive import apply, scaled
from attnjax.typing import Array, Bool, Float, Int, Key

__all__ = [
  "Draw",
  "draw",
  "leave_one_out",
  "score_function",
]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Draw:
  """Index and log-probability of the part that each row drew.

  Args:
    index: int32, the part that was drawn; -1 where all were hidden.
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

  The output has no gradient to the logits: pass the loss to `score_function`
  with the log-probability of the draw. ``glimpse(normalizer="hard")`` takes the
  likeliest part, with a straight-through gradient; with Gumbel noise added to
  the logits it draws too, with a gradient that is biased but of low variance.

  Args:
    inputs: as for `glimpse`.
    logits: as for `glimpse`.
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
    # As in `glimpse`, rows are the axis along which parts compete.
    given = scaled(inputs, logits, axis, temperature, mask)
    layout = given.layout
    rows = layout.rows(given.logits)
    seen = layout.rows(given.seen).any(axis=-1)
    length = rows.shape[-1]

    if length == 0:  # `categorical` refuses an empty axis
      index = jnp.full(rows.shape[:-1], -1, jnp.int32)
    else:
      index = jax.random.categorical(key, rows, axis=-1).astype(jnp.int32)
      index = jnp.where(seen, index, -1)

    # One-hot of -1, of a row that sees nothing, is 0 everywhere.
    weights = layout.back(jax.nn.one_hot(index, length, dtype=rows.dtype))
    out = apply(inputs, weights, given.seen, layout.axis, pool)

    shape = layout.row_shape(given.logits.shape)
    logs = _log_probabilities(rows, index, seen)
    return out, Draw(index.reshape(shape), logs.reshape(shape))


def _log_probabilities(rows, index, seen):
  """Log-softmax at the index drawn; 0 with gradient 0 where there is none."""
  # By a one-hot, not by a gather: the transpose of a gather is a scatter.
  chosen = jax.nn.one_hot(index, rows.shape[-1], dtype=jnp.bool_)
  logit = jnp.where(chosen, rows, 0).sum(axis=-1)
  safe = jnp.where(seen[..., None], rows, 0)
  total = jax.nn.logsumexp(safe, axis=-1) if rows.shape[-1] else 0
  return jnp.where(seen, logit - total, 0)


def score_function(
  loss: Float[Array, "*B"],
  log_probability: Float[Array, "*B"],
  baseline: Float[Array, "..."] | float = 0.0,
) -> Float[Array, "*B"]:
  """REINFORCE: the loss, with an unbiased gradient of its expectation.

      value     loss
      gradient  ∇loss + (loss - baseline) ∇log_probability

  The mean of the gradient over draws is that of E[loss]: ∇loss given the draw,
  plus the second term for the probability of the draw.

  Args:
    loss: ``*B``, one a draw.
    log_probability: of the choice that led to it; of several choices, the sum.
    baseline: subtracted from the loss to reduce variance, a number or one per
      draw: a running mean, a prediction, `leave_one_out`. It must not depend
      on its own draw, or the gradient is biased; no gradient flows into it.

  Raises:
    ValueError: there is not one log-probability a loss, or a baseline does not
      broadcast to them.

  The exact gradient of E[loss] = p · 4 + (1 - p) · 1 at p = 1/2 is 3 p (1 - p):

  >>> import jax
  >>> import jax.numpy as jnp
  >>> from attnjax.ops.glimpse import draw
  >>> def expected(logit, key):
  ...   logits = jnp.stack([logit, jnp.float32(0)])
  ...   x = jnp.array([4.0, 1.0])
  ...   loss, drawn = draw(x, logits, key, pool=True)
  ...   return score_function(loss, drawn.log_probability, jnp.float32(2.5))
  >>> keys = jax.random.split(jax.random.key(0), 3)
  >>> jax.vmap(jax.grad(expected), (None, 0))(jnp.float32(0), keys).tolist()
  [0.75, 0.75, 0.75]

  Reference:
    Williams, "Simple Statistical Gradient-Following Algorithms for
    Connectionist Reinforcement Learning", 1992; used for glimpses by Mnih et
    al., 2014, arXiv 1406.6247, equation 2.
  """
  if jnp.shape(loss) != jnp.shape(log_probability):
    raise ValueError(
      f"score_function: loss has shape {list(jnp.shape(loss))} and"
      f" log_probability {list(jnp.shape(log_probability))}; give one loss a"
      " draw, not yet averaged"
    )

  if jnp.shape(baseline) not in ((), jnp.shape(loss)):
    raise ValueError(
      f"score_function: baseline has shape {list(jnp.shape(baseline))},"
      f" expected one number or the loss's shape {list(jnp.shape(loss))}"
    )

  # Only a weight of the score: the gradient of the loss itself is the other
  # term.
  advantage = jax.lax.stop_gradient(loss - jnp.asarray(baseline, loss.dtype))
  score = log_probability - jax.lax.stop_gradient(log_probability)
  # The score is 0 in value, so the value is that of the loss; a loss of inf or
  # NaN is not hidden.
  return loss + advantage * score.astype(loss.dtype)


def leave_one_out(
  losses: Float[Array, "..."], axis: int = 0
) -> Float[Array, "..."]:
  """Leave-one-out baseline: for each of N draws, the mean loss of the others.

      baseline[n] = Σ_{m ≠ n} loss[m] / (N - 1)

  Args:
    losses: of draws that are independent of each other along `axis`: draws for
      one input, or the rows of a batch.
    axis: of the draws, N >= 2.

  Raises:
    ValueError: there are fewer than two draws.

  >>> import jax.numpy as jnp
  >>> leave_one_out(jnp.array([1.0, 2.0, 6.0])).tolist()
  [4.0, 3.5, 1.5]

  Reference:
    Kool, van Hoof, Welling, "Buy 4 REINFORCE Samples, Get a Baseline for
    Free!", 2019; Mnih, Rezende, "Variational Inference for Monte Carlo
    Objectives", 2016, arXiv 1602.06725.
  """
  draws = losses.shape[axis] if losses.ndim else 0
  if draws < 2:
    raise ValueError(
      f"leave_one_out: needs at least 2 draws along axis {axis}, got shape"
      f" {list(losses.shape)}; draw more often, or take a running mean"
    )
  # The sum of all less one's own: N numbers, not N by N.
  return (losses.sum(axis=axis, keepdims=True) - losses) / (draws - 1)
