"""The mosaic tasks: four real digits in a square, a question about one.

"place": the context is a quadrant, the answer its digit. The glimpse is over
patches of pixels; its weights are a row of an embedding, whatever the pixels.

"digit": the context is a digit, the answer its quadrant. The glimpse is over
the four digits; its weights depend on their content.
"""

import dataclasses
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from attnjax import config as configs
from attnjax import runs, training
from attnjax.data import Examples, evaluation_batches, train_batches
from attnjax.nn import ContentGlimpse, GlimpseNetwork
from experiments.glimpse.config import MosaicConfig
from experiments.glimpse.digits import (
  SIDE,
  Digits,
  Mosaics,
  arrange,
  load_digits,
  patches,
)

__all__ = [
  "BLIND",
  "QUESTIONS",
  "VARIANTS",
  "Result",
  "load",
  "most_often",
  "run",
]

QUESTIONS = {"place": (4, 10), "digit": (10, 4)}  # contexts, answers
VARIANTS = ("glimpse", "no context", "concatenated", "concatenated, large")


def most_often(things: int, kinds: int) -> float:
  """Mean share of the kind that is most frequent among independent things.

  The accuracy of who knows all things of a picture and not which one is asked
  for. All pictures are enumerated.

  Args:
    things: number of a picture.
    kinds: equally likely each.

  >>> most_often(2, 2)  # alike in half of the pictures
  0.75
  """
  counts = [
    max(map(drawn.count, drawn))
    for drawn in itertools.product(range(kinds), repeat=things)
  ]
  return sum(counts) / (things * len(counts))


# Of "place" without its context.
BLIND = most_often(4, 10)


class DigitSplits(NamedTuple):
  """Digits to train on, and held-out ones."""

  train: Digits
  heldout: Digits


@dataclasses.dataclass(frozen=True)
class Result:
  """Result of one run.

  Args:
    accuracy: on mosaics of held-out digits, in [0, 1].
    parameters: number of the network's.
    net: the trained network.
    mosaics: those of the evaluation.
  """

  accuracy: float
  parameters: int
  net: nnx.Module
  mosaics: Mosaics


class Concatenated(nnx.Module):
  """Baseline without a glimpse: a hidden layer on input and context."""

  def __init__(self, contexts: int, features: int, hidden: int, outputs, rngs):
    self.inner = nnx.Linear(contexts + features, hidden, rngs=rngs)
    self.readout = nnx.Linear(hidden, outputs, rngs=rngs)
    self.contexts = contexts

  def __call__(self, inputs, context):
    """``*B O`` from ``*B T D`` and ``*B``."""
    flat = inputs.reshape((*inputs.shape[:-2], -1))
    onehot = jax.nn.one_hot(context, self.contexts, dtype=flat.dtype)
    both = jnp.concatenate([flat, onehot], axis=-1)
    return self.readout(jax.nn.relu(self.inner(both)))


class Blind(nnx.Module):
  """Baseline without a context: a network whose context is always 0."""

  def __init__(self, net: nnx.Module):
    self.net = net

  def __call__(self, inputs, context):
    """``*B O`` from ``*B T D``; `context` is ignored but for its shape."""
    return self.net(inputs, jnp.zeros_like(context))


def load(config: MosaicConfig) -> DigitSplits:
  """Splits the digits; the last of the file are held out.

  Raises:
    ValueError: one split would lack some digit.
    ImportError: scikit-learn is not installed.
  """
  digits = load_digits()
  kept = max(len(digits.labels) - config.heldout_digits, 0)

  splits = DigitSplits(
    *(
      Digits(*(part[rows] for part in digits))
      for rows in (slice(kept), slice(kept, None))
    )
  )

  for name, split in zip(splits._fields, splits, strict=True):
    if len(set(split.labels.tolist())) < 10:
      raise ValueError(
        f"mosaic.heldout_digits={config.heldout_digits} of the"
        f" {len(digits.labels)} digits leaves {len(split.labels)} in the split"
        f" {name!r}, where not every number from 0 to 9 is"
      )

  return splits


def inputs_of(
  images: np.ndarray, question: str, config: MosaicConfig
) -> np.ndarray:
  """Network inputs: patches, or whole digits with a one-hot quadrant.

  Returns:
    "place": ``N P side²``; "digit": ``N 4 68``.
  """
  if question == "place":
    return patches(images, config.patch)
  tiles = patches(images, SIDE)
  where = np.broadcast_to(np.eye(4, dtype=np.float32), (len(images), 4, 4))
  return np.concatenate([tiles, where], axis=-1)


def ask(mosaics: Mosaics, question: str, config: MosaicConfig, rng) -> Examples:
  """Draws a question about each mosaic: inputs, context, answer."""
  rows = np.arange(len(mosaics.images))
  quadrant = rng.integers(0, 4, len(rows)).astype(np.int32)
  label = mosaics.labels[rows, quadrant]
  context, answer = (
    (quadrant, label) if question == "place" else (label, quadrant)
  )
  inputs = inputs_of(mosaics.images, question, config)
  return Examples({"inputs": inputs, "context": context, "answer": answer})


def network(
  config: MosaicConfig, question: str, variant: str, seed: int
) -> nnx.Module:
  """A new network of a variant for a question."""
  contexts, outputs = QUESTIONS[question]
  rngs = nnx.Rngs(seed)
  # Of "digit" the parts are the quadrants, with their one-hot place.
  parts, width = (2 * SIDE // config.patch) ** 2, config.patch**2
  if question == "digit":
    parts, width = 4, SIDE**2 + 4

  if variant in ("glimpse", "no context"):
    blind = variant == "no context"
    asked = 1 if blind else contexts  # rows of the embedding
    net = (
      GlimpseNetwork(
        *(asked, parts, outputs),
        width=width,
        # Fixes the scale of the weights, so that those of seeds can be
        # compared.
        normalizer="softmax",
        stddev=0.02,
        rngs=rngs,
      )
      if question == "place"
      else ContentGlimpse(
        *(asked, width, outputs), key_width=config.key_width, rngs=rngs
      )
    )
    return Blind(net) if blind else net

  hidden = config.hidden
  if variant == "concatenated":
    # The least hidden width with as many parameters as the glimpse.
    glimpse = lambda: network(config, question, "glimpse", seed)
    size = count(jax.eval_shape(glimpse))
    # A hidden unit has a weight for each input and output, and a bias.
    hidden = -(-size // (contexts + parts * width + outputs + 1))

  return Concatenated(contexts, parts * width, hidden, outputs, rngs)


def count(net: nnx.Module) -> int:
  """Number of parameters of a network."""
  return sum(leaf.size for leaf in jax.tree.leaves(net))


def loss(net, batch: Mapping, key):
  """(summed cross-entropy in nats, weight, correct answers)."""
  del key  # nothing is random
  logits = net(batch["inputs"], batch["context"])
  total, weight = training.cross_entropy(
    logits, batch["answer"], batch["weights"]
  )
  right = jnp.where(logits.argmax(-1) == batch["answer"], batch["weights"], 0)
  return total, weight, {"accuracy": right.sum()}


def run(
  config: MosaicConfig,
  digits: DigitSplits,
  question: str,
  variant: str,
  seed: int,
  workdir: Path,
) -> Result:
  """Trains one variant with one seed, or finds it trained."""
  # A digit that is there twice would have no one place.
  distinct = question == "digit"

  made = {}
  for number, (side, rows) in enumerate(
    (("train", config.rows), ("heldout", config.heldout))
  ):
    # The mosaics of the evaluation are the same for all seeds.
    rng = np.random.default_rng((number, seed * (1 - number)))
    mosaics = arrange(getattr(digits, side), rows, rng, distinct=distinct)
    made[side] = (mosaics, ask(mosaics, question, config, rng))

  net = network(config, question, variant, seed)
  fitted = runs.fit(
    net,
    loss,
    train_batches(made["train"][1], config.batch_size, seed),
    workdir=workdir / variant.replace(", ", "_").replace(" ", "_") / f"{seed}",
    experiment="glimpse",
    identity=configs.decisive(config)
    | {"question": question, "variant": variant, "seed": seed},
    optimizer=_optimizer(config, variant),
    train=configs.replace_leaves(
      config.train, {"seed": config.train.seed + seed}
    ),
    evaluate=training.make_evaluate(loss).on(
      evaluation_batches(made["heldout"][1], 500)
    ),
  )
  record: dict[str, Any] = fitted.records[-1]

  return Result(
    accuracy=record["accuracy"],
    parameters=count(fitted.params),
    net=fitted.params,
    mosaics=made["heldout"][0],
  )


def _optimizer(config: MosaicConfig, variant: str) -> training.OptimizerConfig:
  """The optimizer of a variant: networks without a glimpse have their rate."""
  # See `plain_learning_rate`: each kind has the rate that is best for it.
  if variant.startswith("concatenated"):
    rate = {"peak_learning_rate": config.plain_learning_rate}
    return configs.replace_leaves(config.optimizer, rate)
  return config.optimizer
