"""The places task: eight numbers, and a context that selects one of them.

x is uniform in [0, 1)⁸, the context one of five, and the target the number at
the place that belongs to the context. The places are to be learned.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from attnjax import config as configs
from attnjax import glimpse, glimpses, runs, training
from attnjax.data import Examples, evaluation_batches, train_batches
from attnjax.nn import GlimpseNetwork
from experiments.glimpse.config import PlacesConfig

__all__ = ["BLIND", "PLACES", "Loss", "Result", "names", "run"]

LENGTH, PLACES = 8, (2, 7, 3, 5, 1)  # the place that each context asks for
# Least squared error without the context: the mean of the five numbers is the
# best guess; 1/12 is the variance of a number, (1 - 1/5) / 12.
BLIND = 1 / 15
SOFT = ("none", "softmax", "sigmoid", "no context")
HARD = ("hard", "hard, drawn", "score function")


@dataclasses.dataclass(frozen=True)
class Result:
  """Result of one run.

  Args:
    error: mean squared error on held-out examples.
    gap: largest |effective weight - one-hot truth|.
    right: contexts, of 5, whose largest effective weight is at their place.
    effective: effective weights, contexts by places.
    curve: (step, held-out error) of every evaluation.
  """

  error: float
  gap: float
  right: int
  effective: np.ndarray
  curve: list[tuple[int, float]]


@dataclasses.dataclass(frozen=True)
class Loss:
  """Squared error of a variant, stochastic where a key is given.

  Args:
    variant: one of `SOFT` or `HARD`. Of the latter "hard" takes the argmax,
      "hard, drawn" draws by Gumbel noise, and "score function" draws and
      estimates the gradient by REINFORCE with a leave-one-out baseline.
  """

  variant: str

  def __call__(self, net: GlimpseNetwork, batch: Mapping, key):
    """(summed squared error, weight)."""
    x, context, weights = batch["x"], batch["context"], batch["weights"]
    if self.variant == "no context":
      context = jnp.zeros_like(context)

    log_probability = None
    if key is None or self.variant not in HARD[1:]:
      out = net(x, context)
    elif self.variant == "score function":
      seen, drawn = glimpses.draw(x, net.context(context), key)
      out, log_probability = net.readout(seen), drawn.log_probability
    else:
      # The largest of logits with Gumbel noise is a draw from their softmax.
      logits = net.context(context)
      noisy = logits + jax.random.gumbel(key, logits.shape, logits.dtype)
      out = net.readout(glimpse(x, noisy, normalizer="hard"))

    errors = (out[:, 0] - batch["target"]) ** 2
    if log_probability is not None:
      baseline = glimpses.leave_one_out(errors)
      errors = glimpses.score_function(errors, log_probability, baseline)

    return jnp.vdot(errors, weights), weights.sum()


def names(config: PlacesConfig) -> tuple[str, ...]:
  """Variants of a config; "no context" is last."""
  return SOFT if config.soft_only else SOFT[:-1] + HARD + SOFT[-1:]


def examples(rows: int, seed: tuple[int, ...]) -> Examples:
  """Draws numbers ``N 8``, contexts ``N`` and targets ``N``."""
  rng = np.random.default_rng(seed)
  x = rng.random((rows, LENGTH), np.float32)
  context = rng.integers(0, len(PLACES), rows).astype(np.int32)
  target = x[np.arange(rows), np.array(PLACES)[context]]
  return Examples({"x": x, "context": context, "target": target})


def network(config: PlacesConfig, variant: str, seed: int) -> GlimpseNetwork:
  """A new network: embedding of the context, glimpse, linear readout."""
  normalizer = {"no context": "none"} | dict.fromkeys(HARD, "hard")
  return GlimpseNetwork(
    1 if variant == "no context" else len(PLACES),
    LENGTH,
    1,
    normalizer=normalizer.get(variant, variant),
    stddev=config.stddev,
    rngs=nnx.Rngs(seed),
  )


def run(config: PlacesConfig, variant: str, seed: int, workdir: Path) -> Result:
  """Trains one variant with one seed; measures its effective weights."""
  loss = Loss(variant)
  # The draws of the evaluation are the same for all seeds.
  # (1, 0) and not (0, seed), by which the training rows are drawn.
  held = list(evaluation_batches(examples(config.heldout, (1, 0)), 2000))
  fitted = runs.fit(
    network(config, variant, seed),
    loss,
    train_batches(examples(config.rows, (0, seed)), config.batch_size, seed),
    workdir=workdir / variant.replace(", ", "_").replace(" ", "_") / f"{seed}",
    experiment="glimpse",
    identity=configs.decisive(config) | {"variant": variant, "seed": seed},
    optimizer=config.optimizer,
    train=configs.replace_leaves(
      config.train, {"seed": config.train.seed + seed}
    ),
    evaluate=training.make_evaluate(loss).on(held),
  )

  # Without a context there is one row: broadcast, it is compared to all five.
  effective = np.asarray(fitted.params.effective_weights())[..., 0]
  effective = np.broadcast_to(effective, (len(PLACES), LENGTH))
  return Result(
    error=fitted.records[-1]["loss"],
    gap=float(np.abs(effective - np.eye(LENGTH)[list(PLACES)]).max()),
    right=int((effective.argmax(-1) == np.array(PLACES)).sum()),
    effective=effective,
    curve=[(record["step"], record["loss"]) for record in fitted.records],
  )
