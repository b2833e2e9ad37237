"""Real digits, and mosaics of four of them."""

from typing import NamedTuple

import numpy as np

from attnjax.extras import needs_extra

__all__ = ["SIDE", "Digits", "Mosaics", "arrange", "load_digits", "patches"]

SIDE = 8  # pixels of a digit; a mosaic has twice as many


class Digits(NamedTuple):
  """Handwritten digits: images ``N 8 8`` from 0 to 1, and what they say."""

  images: np.ndarray
  labels: np.ndarray


class Mosaics(NamedTuple):
  """Images ``N 16 16``, and the labels ``N 4`` of their quadrants.

  Quadrants are numbered as one reads: top left, top right, bottom left, bottom
  right.
  """

  images: np.ndarray
  labels: np.ndarray


def load_digits() -> Digits:
  """The 1,797 digits that come with scikit-learn, in their order.

  Raises:
    ImportError: scikit-learn is not installed.

  Reference:
    Alpaydin, Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine
    Learning Repository, 1998: its test set.
  """
  with needs_extra("vision", "the digits come with scikit-learn"):
    from sklearn import datasets

  found = datasets.load_digits()
  images = (found.images / 16).astype(np.float32)
  return Digits(images, found.target.astype(np.int32))


def arrange(
  digits: Digits, count: int, rng: np.random.Generator, *, distinct: bool
) -> Mosaics:
  """Mosaics of digits drawn at random; `distinct` ones repeat no number."""
  if distinct:
    classes = rng.permuted(np.tile(np.arange(10), (count, 1)), axis=1)[:, :4]
    picks = _one_of_each(digits, classes, rng)
  else:
    picks = rng.integers(0, len(digits.labels), (count, 4))
  tiles = digits.images[picks].reshape(count, 2, 2, SIDE, SIDE)
  images = tiles.transpose(0, 1, 3, 2, 4).reshape(count, 2 * SIDE, 2 * SIDE)
  return Mosaics(images, digits.labels[picks])


def patches(images: np.ndarray, side: int) -> np.ndarray:
  """Images ``N 16 16`` as rows of patches ``N P side²``, as one reads."""
  count, across = len(images), images.shape[1] // side
  cut = images.reshape(count, across, side, across, side)
  return cut.transpose(0, 1, 3, 2, 4).reshape(count, across**2, side**2)


def _one_of_each(digits: Digits, classes, rng) -> np.ndarray:
  """For each class asked for, some digit of it."""
  picks = np.empty(classes.shape, np.int64)
  for label in range(10):
    asked = classes == label
    picks[asked] = rng.choice(
      np.flatnonzero(digits.labels == label), asked.sum()
    )
  return picks
