"""Image splits, loss, and training of one run."""

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

__all__ = ["EXAMINED", "ImageSplits", "fit", "load", "loss", "split_images"]

_LOADERS: dict[str, Callable[[], Images]] = {
  "digits": digits,
  "mnist5k": mnist5k,
  "fashion_mnist": fashion_mnist,
}
EXAMINED = 500  # images of a batch of the evaluation


class ImageSplits(NamedTuple):
  """Train and held-out splits: images ``N Y X 1``, labels ``N``."""

  train: Examples
  held: Examples
  classes: tuple[str, ...]

  @property
  def digest(self) -> str:
    """SHA-256 of images and labels of both splits."""
    parts = [
      np.ascontiguousarray(split.arrays[name]).tobytes()
      for split in (self.train, self.held)
      for name in ("image", "label")
    ]
    return hashlib.sha256(b"".join(parts)).hexdigest()


def load(config: VisionConfig) -> ImageSplits:
  """Loads and splits the images of a config.

  Raises:
    AssetError: they cannot be fetched.
    ImportError: scikit-learn is missing, which has the digits.
    ValueError: they have another size than the model.
  """
  return split_images(_LOADERS[config.data](), config)


def split_images(images: Images, config: VisionConfig) -> ImageSplits:
  """Splits images into train and held-out ones, checking their size.

  Raises:
    ValueError: they have another size than the model, or other classes.
  """
  model = config.model
  size, wanted = images.train["images"].shape[1:], (model.height, model.breadth)
  if size != wanted or images.test["images"].shape[1:] != wanted:
    raise ValueError(
      f"data={config.data!r}: expected images of {wanted[0]} x {wanted[1]}"
      f" pixels, as model.height and model.breadth say, got {size[0]} x"
      f" {size[1]}; set both to the size of the images"
    )

  # All networks have a readout of this many.
  if len(images.classes) != networks.CLASSES:
    raise ValueError(
      f"data={config.data!r}: expected {networks.CLASSES} classes, got"
      f" {len(images.classes)}"
    )

  train, held = _rows(images.train), _rows(images.test)
  if config.examine == "validation":
    # The last tenth; the test images are not looked at.
    cut = len(train) - len(train) // 10
    train, held = Examples(train[:cut]), Examples(train[cut:])

  return ImageSplits(train, held, images.classes)


def _rows(arrays: Mapping) -> Examples:
  """Examples of one split, with an axis of channels."""
  return Examples(
    {"image": arrays["images"][..., None], "label": arrays["labels"]}
  )


def loss(model, batch: Mapping, key):
  """(summed cross-entropy in nats, weight, correct answers)."""
  logits = model(batch["image"], dropout_key=key)
  total, weight = training.cross_entropy(
    logits, batch["label"], batch["weights"]
  )
  right = jnp.where(logits.argmax(-1) == batch["label"], batch["weights"], 0)
  return total, weight, {"accuracy": right.sum()}


def fit(
  config: VisionConfig,
  splits: ImageSplits,
  variant: str,
  seed: int,
  workdir: Path,
) -> runs.Fitted:
  """Trains one variant with one seed, or finds it trained."""
  # Baselines have learning rates of their own.
  own = config
  if variant in BASELINES:
    rate = getattr(config, f"{variant}_learning_rate")
    own = replace_leaves(config, {"optimizer.peak_learning_rate": rate})

  return runs.fit(
    networks.make(config, variant, seed),
    loss,
    train_batches(splits.train, config.batch_size, seed),
    evaluate=training.make_evaluate(loss).on(
      evaluation_batches(splits.held, min(EXAMINED, len(splits.held)))
    ),
    **trial_arguments(
      own,
      experiment="vision",
      variant=variant,
      seed=seed,
      workdir=workdir,
      # Other images are another run: its checkpoints are not resumed.
      data={"images": splits.digest},
    ),
  )
