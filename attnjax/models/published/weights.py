"""Tensors of a directory in safetensors files, one or several, read by name."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from attnjax.extras import needs_extra

__all__ = ["Weights", "open_weights"]

_SINGLE, _INDEX = "model.safetensors", "model.safetensors.index.json"
_PICKLES = (".bin", ".pt", ".pth", ".ckpt")


class Weights:
  """Tensors by name, read when they are asked for.

  Args:
    files: name of a tensor -> the open file that has it.

  >>> Weights({}).names()
  set()
  """

  def __init__(self, files: dict[str, Any]):
    self._files = files

  def names(self) -> set[str]:
    """Names of all tensors."""
    return set(self._files)

  def shape(self, name: str) -> tuple[int, ...]:
    """The shape of a tensor, without reading it."""
    return tuple(self._files[name].get_slice(name).get_shape())

  def get(self, name: str) -> np.ndarray:
    """A tensor as numpy, in the dtype of its file."""
    return self._files[name].get_tensor(name)


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
    files: dict[str, Any] = {}
    for file, expected in names.items():
      path = folder / file
      try:
        opened = stack.enter_context(safetensors.safe_open(path, "numpy"))
      except (OSError, safetensors.SafetensorError) as error:
        raise ValueError(
          f"{path} is no whole safetensors file ({error}); get it again, for"
          " its download may have stopped early"
        ) from error

      inside = set(opened.keys())
      if expected is not None and (lost := sorted(expected - inside)):
        raise ValueError(
          f"{path} must have the tensors that {_INDEX} says, and lacks"
          f" {', '.join(lost[:5])}; get both again"
        )
      files |= dict.fromkeys(inside, opened)
    yield Weights(files)


def _files_of(folder: Path) -> dict[str, set[str] | None]:
  """Names of the files, each with the tensors that an index says it has."""
  if (folder / _SINGLE).is_file():
    return {_SINGLE: None}

  if (folder / _INDEX).is_file():
    places = json.loads((folder / _INDEX).read_text())["weight_map"]
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
