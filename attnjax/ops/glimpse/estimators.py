"""The gradient of an expected loss under a random choice."""

import jax
import jax.numpy as jnp

from attnjax.typing import Array, Float

__all__ = ["leave_one_out", "score_function"]


def score_function(
  loss: Float[Array, "*B"],
  log_probability: Float[Array, "*B"],
  baseline: Float[Array, "..."] | float = 0.0,
) -> Float[Array, "*B"]:
  """The loss again, with the gradient that its expectation has: REINFORCE.

      value     loss
      gradient  ∇loss + (loss - baseline) ∇log_probability

  Its mean over draws is the gradient of E[loss], without bias: ∇loss for what
  depends on the parameters once the choice is made, the rest for the choice.

  Args:
    loss: one a draw.
    log_probability: of the choice that led to it; of several choices, the sum.
    baseline: what a loss is compared with, a number or one a draw: the mean
      loss so far, a prediction, `leave_one_out`. It must not depend on the
      draw that it is for, or there is a bias; no gradient goes into it.

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
  _check(loss, log_probability, baseline)
  advantage = jax.lax.stop_gradient(loss - jnp.asarray(baseline, loss.dtype))
  score = log_probability - jax.lax.stop_gradient(log_probability)
  # The score is exactly 0, so the value is the loss; a loss that is inf or NaN
  # stays seen.
  return loss + advantage * score.astype(loss.dtype)


def leave_one_out(
  losses: Float[Array, "..."], axis: int = 0
) -> Float[Array, "..."]:
  """A baseline for free: for each of N draws, the mean loss of the others.

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
  return (losses.sum(axis=axis, keepdims=True) - losses) / (draws - 1)


def _check(loss, log_probability, baseline) -> None:
  """One log-probability a loss, and a baseline that fits them."""
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
