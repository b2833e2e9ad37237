"""scikit-learn's handwritten digits, mosaics of four, and patches."""

from typing import NamedTuple

import numpy as np

from attnjax.extras import needs_extra

__all__ = ["SIDE", "Digits", "Mosaics", "arrange", "load_digits", "patches"]

SIDE = 8  # pixels of a digit; a mosaic has twice as many


class Digits(NamedTuple):
  """Handwritten digits: images ``N 8 8`` in [0, 1], labels ``N``, int32."""

  images: np.ndarray
  labels: np.ndarray


class Mosaics(NamedTuple):
  """Images ``N 16 16``, and the labels ``N 4`` of their quadrants.

  Quadrants are in row-major order: top left, top right, bottom left, bottom
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
  # Pixels are counts from 0 to 16.
  images = (found.images / 16).astype(np.float32)
  return Digits(images, found.target.astype(np.int32))


def arrange(
  digits: Digits, count: int, rng: np.random.Generator, *, distinct: bool
) -> Mosaics:
  """Draws mosaics of four digits, of four different labels if `distinct`."""
  if distinct:
    classes = rng.permuted(np.tile(np.arange(10), (count, 1)), axis=1)[:, :4]
    picks = _one_of_each(digits, classes, rng)
  else:
    picks = rng.integers(0, len(digits.labels), (count, 4))

  # N 2 2 8 8 -> N 2 8 2 8: rows of tiles before rows of pixels.
  tiles = digits.images[picks].reshape(count, 2, 2, SIDE, SIDE)
  images = tiles.transpose(0, 1, 3, 2, 4).reshape(count, 2 * SIDE, 2 * SIDE)
  return Mosaics(images, digits.labels[picks])


def patches(images: np.ndarray, side: int) -> np.ndarray:
  """Cuts images ``N 16 16`` into patches ``N P side²``, row-major."""
  count, across = len(images), images.shape[1] // side
  cut = images.reshape(count, across, side, across, side)
  return cut.transpose(0, 1, 3, 2, 4).reshape(count, across**2, side**2)


def _one_of_each(digits: Digits, classes, rng) -> np.ndarray:
  """Indices of random digits of the given classes, shaped as `classes`."""
  picks = np.empty(classes.shape, np.int64)
  for label in range(10):
    asked = classes == label
    picks[asked] = rng.choice(
      np.flatnonzero(digits.labels == label), asked.sum()
    )
  return picks
