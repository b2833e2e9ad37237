"""The task of the notes: eight numbers; a context asks for one of them.

x is uniform in [0, 1)^8, the context one of five, and the answer the number at
the place that belongs to the context. Nobody tells the network the places.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
BLIND = 1 / 15  # (1 - 1/5) / 12: the least error of who knows no context
SOFT = ("none", "softmax", "sigmoid", "no context")
HARD = ("hard", "hard, drawn", "score function")


@dataclasses.dataclass(frozen=True)
class Result:
  """What one run came to.

  Args:
    error: mean squared error of held-out examples.
    gap: largest distance of an effective weight from what it should be.
    right: contexts whose largest effective weight is at the place they ask for.
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
  """Squared error of a variant; with a key as it trains, without as it is.

  Args:
    variant: one of `SOFT` or `HARD`.
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
  """The variants of a config."""
  return SOFT if config.soft_only else SOFT[:-1] + HARD + SOFT[-1:]


def examples(rows: int, seed: tuple[int, ...]) -> Examples:
  """Numbers, contexts and the numbers they ask for."""
  rng = np.random.default_rng(seed)
  x = rng.random((rows, LENGTH), np.float32)
  context = rng.integers(0, len(PLACES), rows).astype(np.int32)
  target = x[np.arange(rows), np.array(PLACES)[context]]
  return Examples({"x": x, "context": context, "target": target})


def network(config: PlacesConfig, variant: str, seed: int) -> GlimpseNetwork:
  """Embed(context) -> glimpse -> Linear."""
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
  """Trains one variant with one seed, and looks at its weights."""
  loss = Loss(variant)
  # The draws of the evaluation are the same for all seeds.
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

  return _result(fitted.params, fitted.records)


def _result(net: GlimpseNetwork, records: list[dict[str, Any]]) -> Result:
  """The error, and the effective weights beside the truth."""
  effective = np.asarray(net.effective_weights())[..., 0]
  effective = np.broadcast_to(effective, (len(PLACES), LENGTH))
  return Result(
    error=records[-1]["loss"],
    gap=float(np.abs(effective - np.eye(LENGTH)[list(PLACES)]).max()),
    right=int((effective.argmax(-1) == np.array(PLACES)).sum()),
    effective=effective,
    curve=[(record["step"], record["loss"]) for record in records],
  )
