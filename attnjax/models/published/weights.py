"""Tensors of a directory in safetensors files, one or several, read by name."""

import contextlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import jax.numpy as jnp
import numpy as np

from attnjax.extras import needs_extra
from attnjax.models.published.read_config import read_json

__all__ = ["Stored", "Weights", "open_weights"]

_SINGLE, _INDEX = "model.safetensors", "model.safetensors.index.json"
_DTYPES = {
  "F64": "float64",
  "F32": "float32",
  "F16": "float16",
  "BF16": "bfloat16",
  "I64": "int64",
  "I32": "int32",
  "U8": "uint8",
  "BOOL": "bool",
}
_PICKLES = (".bin", ".pt", ".pth", ".ckpt")


class Stored(NamedTuple):
  """Where a tensor lies in a file.

  >>> import numpy as np
  >>> Stored(None, np.dtype("float32"), (2, 3), 100).shape
  (2, 3)
  """

  file: BinaryIO | None
  dtype: np.dtype
  shape: tuple[int, ...]
  offset: int


class Weights:
  """Tensors by name, read when they are asked for, by any thread.

  Args:
    stored: name of a tensor -> where it lies.

  >>> Weights({}).names()
  set()
  """

  def __init__(self, stored: dict[str, Stored]):
    self._stored = stored
    self._reading = threading.Lock()

  def names(self) -> set[str]:
    """Names of all tensors."""
    return set(self._stored)

  def shape(self, name: str) -> tuple[int, ...]:
    """The shape of a tensor, without reading it."""
    return self._stored[name].shape

  def dtype(self, name: str) -> np.dtype:
    """The dtype of a tensor."""
    return self._stored[name].dtype

  def read(self, name: str, out: np.ndarray) -> None:
    """Reads a tensor into a contiguous array of its shape and dtype.

    By `readinto` and not by a map of the file, whose pages would count as this
    process's memory beside the parameters.
    """
    stored = self._stored[name]
    if stored.file is None:
      raise ValueError(f"{name} must be in a file that is open")
    rest = out.reshape(out.size).view(np.uint8).data
    # A file has one place that it is read at, whichever thread reads.
    with self._reading:
      stored.file.seek(stored.offset)
      while rest:
        count = stored.file.readinto(rest)  # type: ignore[attr-defined]
        if not count:
          raise ValueError(
            f"{stored.file.name} ended within {name}; get it again"
          )
        rest = rest[count:]

  def get(self, name: str) -> np.ndarray:
    """A tensor as numpy, in the dtype of its file."""
    out = np.empty(self.shape(name), self.dtype(name))
    self.read(name, out)
    return out


@contextlib.contextmanager
def open_weights(folder: Path) -> Iterator[Weights]:
  """The tensors of a directory, while its files are open.

  Args:
    folder: has `model.safetensors`, or shards and their index.

  Raises:
    ValueError: there is no such file, or one is broken or truncated, or has not
      the tensors that the index says; only pickles are there.
    ImportError: safetensors is missing: `pip install 'attnjax[published]'`.
  """
  with needs_extra("published", "published weights need safetensors"):
    import safetensors

  names = _files_of(folder)
  with contextlib.ExitStack() as stack:
    stored: dict[str, Stored] = {}
    for file, expected in names.items():
      path = folder / file
      try:
        # The library checks the file; what it reads would be a map of it.
        with safetensors.safe_open(path, "numpy"):
          pass
        opened = stack.enter_context(path.open("rb", buffering=0))
        tensors = _places_in(opened)
      except (OSError, safetensors.SafetensorError) as error:
        raise ValueError(
          f"{path} is no whole safetensors file ({error}); get it again, for"
          " its download may have stopped early"
        ) from error

      if expected is not None and (lost := sorted(expected - {*tensors})):
        raise ValueError(
          f"{path} must have the tensors that {_INDEX} says, and lacks"
          f" {', '.join(lost[:5])}; get both again"
        )
      if twice := sorted({*stored} & {*tensors}):
        raise ValueError(
          f"{path} has {', '.join(twice[:5])}, which another shard has too, and"
          " which of them counts cannot be known; get both again"
        )
      stored |= tensors
    yield Weights(stored)


def _places_in(file: Any) -> dict[str, Stored]:
  """Where each tensor of a safetensors file lies, by its header."""
  size = int.from_bytes(file.read(8), "little")
  header = json.loads(file.read(size))
  header.pop("__metadata__", None)
  found = {}
  for name, about in header.items():
    if about["dtype"] not in _DTYPES:
      raise ValueError(
        f"{file.name}: {name} must have one of the dtypes {[*_DTYPES]}, got"
        f" {about['dtype']}"
      )
    dtype = jnp.dtype(_DTYPES[about["dtype"]])
    first, _ = about["data_offsets"]
    place = Stored(file, dtype, tuple(about["shape"]), 8 + size + first)
    found[name] = place
  return found


def _files_of(folder: Path) -> dict[str, set[str] | None]:
  """Names of the files, each with the tensors that an index says it has."""
  if (folder / _SINGLE).is_file():
    return {_SINGLE: None}

  if (folder / _INDEX).is_file():
    places = read_json(folder / _INDEX).get("weight_map")
    if not isinstance(places, dict) or not all(
      isinstance(file, str) for file in places.values()
    ):
      raise ValueError(
        f"{folder / _INDEX} must have a weight_map from names of tensors to"
        " names of files; get it again"
      )
    shards: dict[str, set[str] | None] = {}
    for name, file in places.items():
      # A shard is a file of the directory, wherever the index would lead.
      shards.setdefault(Path(file).name, set()).add(name)  # type: ignore[union-attr]
    return shards

  pickles = [p.name for p in folder.iterdir() if p.suffix in _PICKLES]
  if pickles:
    raise ValueError(
      f"{folder} has its weights as a pickle, {sorted(pickles)[0]}, which could"
      " run any code when it is read; convert it where you trust it:"
      " transformers.AutoModelForCausalLM.from_pretrained(path)"
      ".save_pretrained(new_path) writes safetensors"
    )
  raise ValueError(f"{folder} must have {_SINGLE} or {_INDEX}, and has neither")
