"""Which images are learned from and which are held out; one training run."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from attnjax import runs, training
from attnjax.config import replace_leaves
from attnjax.data import (
  Examples,
  Images,
  digits,
  evaluation_batches,
  fashion_mnist,
  mnist5k,
  train_batches,
)
from attnjax.runs import trial_arguments
from experiments.vision import networks
from experiments.vision.config import BASELINES, VisionConfig

__all__ = ["EXAMINED", "Sides", "fit", "load", "loss", "sides_of"]

_LOADERS: dict[str, Callable[[], Images]] = {
  "digits": digits,
  "mnist5k": mnist5k,
  "fashion_mnist": fashion_mnist,
}
EXAMINED = 500  # images of a batch of the evaluation


class Sides(NamedTuple):
  """Images ``N Y X 1`` and labels: to learn from, and held out."""

  train: Examples
  held: Examples
  classes: tuple[str, ...]

  @property
  def digest(self) -> str:
    """Tells one set of images from another."""
    parts = [
      np.ascontiguousarray(side.arrays[name]).tobytes()
      for side in (self.train, self.held)
      for name in ("image", "label")
    ]
    return hashlib.sha256(b"".join(parts)).hexdigest()


def load(config: VisionConfig) -> Sides:
  """The images of a config.

  Raises:
    AssetError: they are not here and cannot be had.
    ImportError: scikit-learn is missing, which has the digits.
    ValueError: they have another size than the model.
  """
  return sides_of(_LOADERS[config.data](), config)


def sides_of(images: Images, config: VisionConfig) -> Sides:
  """Images as they are learned from, once their size is known to fit."""
  model = config.model
  size, wanted = images.train["images"].shape[1:], (model.height, model.breadth)
  if size != wanted or images.test["images"].shape[1:] != wanted:
    raise ValueError(
      f"data={config.data!r}: expected images of {wanted[0]} x {wanted[1]}"
      f" pixels, as model.height and model.breadth say, got {size[0]} x"
      f" {size[1]}; set both to the size of the images"
    )

  if len(images.classes) != networks.CLASSES:
    raise ValueError(
      f"data={config.data!r}: expected {networks.CLASSES} classes, got"
      f" {len(images.classes)}"
    )

  train, held = _rows(images.train), _rows(images.test)
  if config.examine == "validation":
    cut = len(train) - len(train) // 10
    train, held = Examples(train[:cut]), Examples(train[cut:])

  return Sides(train, held, images.classes)


def _rows(side: Mapping) -> Examples:
  """One side, with an axis of channels."""
  return Examples({"image": side["images"][..., None], "label": side["labels"]})


def loss(model, batch: Mapping, key):
  """(nats, weight, correct answers), summed."""
  logits = model(batch["image"], dropout_key=key)
  total, weight = training.cross_entropy(
    logits, batch["label"], batch["weights"]
  )
  right = jnp.where(logits.argmax(-1) == batch["label"], batch["weights"], 0)
  return total, weight, {"accuracy": right.sum()}


def fit(
  config: VisionConfig, sides: Sides, variant: str, seed: int, workdir: Path
) -> runs.Fitted:
  """One training run."""
  own = config
  if variant in BASELINES:
    rate = getattr(config, f"{variant}_learning_rate")
    own = replace_leaves(config, {"optimizer.peak_learning_rate": rate})

  return runs.fit(
    networks.make(config, variant, seed),
    loss,
    train_batches(sides.train, config.batch_size, seed),
    evaluate=training.make_evaluate(loss).on(
      evaluation_batches(sides.held, min(EXAMINED, len(sides.held)))
    ),
    **trial_arguments(
      own,
      experiment="vision",
      variant=variant,
      seed=seed,
      workdir=workdir,
      data={"images": sides.digest},
    ),
  )
