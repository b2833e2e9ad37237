"""Safe reader of PyTorch's legacy weight files, without PyTorch.

Such a file is five pickles and then raw numbers: a magic number, a version, the
machine, the object (tensors that refer to storages by a key), and the keys in
the order in which the storages follow. A pickle may name any function and have
it called. Here three kinds of names stand for objects of our own, which only
describe an array; any other name is refused before it is looked up.
"""

import io
import math
import pickle
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

__all__ = [
  "read_torch_archive",
]


_MAGIC = 0x1950A86A20F9469CFC6C
_VERSION = 1001
# Little-endian: `_headers` refuses any other file.
_DTYPES = {
  "HalfStorage": "<f2",
  "FloatStorage": "<f4",
  "DoubleStorage": "<f8",
  "CharStorage": "<i1",
  "ByteStorage": "<u1",
  "ShortStorage": "<i2",
  "IntStorage": "<i4",
  "LongStorage": "<i8",
  "BoolStorage": "?",
}
# Errors that a broken or hostile pickle makes the unpickler raise.
_UNREADABLE = (
  pickle.UnpicklingError,
  EOFError,
  AttributeError,
  IndexError,
  KeyError,
  TypeError,
  ValueError,
  OverflowError,
  MemoryError,
  struct.error,
)


class _StorageType(NamedTuple):
  """Stands for `torch.FloatStorage` and its like; it cannot be called."""

  dtype: str


class _Storage(NamedTuple):
  """Description of a storage, whose numbers come later in the file."""

  key: str
  dtype: str
  size: int


class _Tensor(NamedTuple):
  """View of a storage; offset and strides are in elements."""

  storage: _Storage
  offset: int
  shape: tuple[int, ...]
  strides: tuple[int, ...]


class _Rebuild:
  """Stands for `torch._utils._rebuild_tensor_v2`; no pickle can alter it."""

  __slots__ = ()

  def __call__(self, storage, offset, shape, strides, *_) -> _Tensor:
    """Describes the tensor; ignores `requires_grad` and hooks."""
    if not isinstance(storage, _Storage):
      raise pickle.UnpicklingError("a tensor without a storage")
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


class _Unpickler(pickle.Unpickler):
  """Unpickler of the few names that weights need; refuses all others."""

  def find_class(self, module: str, name: str) -> Any:
    """The stand-in of a name."""
    if (module, name) == ("collections", "OrderedDict"):
      # New each time: a pickle may set attributes on it.
      return type("OrderedDict", (dict,), {})
    if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
      return _Rebuild()
    if module == "torch" and name in _DTYPES:
      return _StorageType(_DTYPES[name])

    raise pickle.UnpicklingError(
      f"it names {module}.{name}, which no file of weights needs; refused, for"
      " to unpickle is to run"
    )

  def persistent_load(self, pid: Any) -> _Storage:
    """The storage that a tensor refers to."""
    kind, storage_type, key, _, size, view = pid
    if kind != "storage" or not isinstance(storage_type, _StorageType):
      raise pickle.UnpicklingError(f"an unknown reference {kind!r:.40}")
    if view is not None or not isinstance(size, int) or size < 0:
      raise pickle.UnpicklingError("a storage that is a view, or has no size")
    return _Storage(str(key), storage_type.dtype, size)


def read_torch_archive(path: Path) -> dict[str, np.ndarray]:
  """The tensors of a legacy PyTorch file (`torch.save` before 1.6), by name.

  Nothing of the file is run, and PyTorch is not needed. Every byte must be
  accounted for: a file that is cut short or goes on behind its last number is
  refused.

  Args:
    path: a file that holds one dict of tensors, such as `pytorch_model.bin`.

  Returns:
    Name -> array, each with memory of its own.

  Raises:
    ValueError: the file is of the newer zip format, is broken, holds anything
      but a dict of tensors, or names a function that is not one of the few
      that weights need.

  >>> import pickle
  >>> from pathlib import Path
  >>> import tempfile
  >>> path = Path(tempfile.mkdtemp()) / "weights.bin"
  >>> size = path.write_bytes(pickle.dumps(print, protocol=2))
  >>> read_torch_archive(path)
  Traceback (most recent call last):
    ...
  ValueError: path='...': it names __builtin__.print, which no file of ...
  """
  content = path.read_bytes()
  if content.startswith(b"PK"):
    raise ValueError(
      f"path={str(path)!r}: expected the legacy format of torch.save, got the"
      " zip format of PyTorch 1.6 and later; save it with"
      " _use_new_zipfile_serialization=False."
    )

  file = io.BytesIO(content)
  try:
    tensors, keys = _headers(file)
    storages = _storages(file, tensors, keys)
    arrays = {name: _array(t, storages) for name, t in tensors.items()}
  except _UNREADABLE as error:
    raise ValueError(
      f"path={str(path)!r}: {error or type(error).__name__} (near byte"
      f" {file.tell()} of {len(content)}). Expected a whole file of weights;"
      " get it anew."
    ) from error

  return arrays


def _headers(file: io.BytesIO) -> tuple[dict[str, _Tensor], list[str]]:
  """The described tensors, and the keys of the storages in their order."""
  magic, version, machine, tensors, keys = (
    _Unpickler(file).load() for _ in range(5)
  )
  if (magic, version) != (_MAGIC, _VERSION):
    raise ValueError("it does not begin as torch.save does")
  if not machine["little_endian"]:
    raise ValueError("it was written on a big-endian machine")

  right = isinstance(tensors, Mapping) and all(
    isinstance(name, str) and isinstance(tensor, _Tensor)
    for name, tensor in tensors.items()
  )

  if not right:
    raise ValueError("it holds something else than a dict of tensors")

  return dict(tensors), list(keys)


def _storages(
  file: io.BytesIO, tensors: dict[str, _Tensor], keys: list[str]
) -> dict[str, np.ndarray]:
  """The numbers of each storage; the file must end with the last one."""
  wanted = {t.storage.key: t.storage for t in tensors.values()}
  if len(set(keys)) != len(keys) or set(keys) != set(wanted):
    raise ValueError("its storages are not those that its tensors refer to")

  found = {}
  for key in keys:
    storage = wanted[key]
    # A storage is its number of elements, 64 bits, and then the elements.
    (size,) = struct.unpack("<q", file.read(8))
    content = file.read(size * np.dtype(storage.dtype).itemsize)
    if (
      size != storage.size
      or len(content) != size * np.dtype(storage.dtype).itemsize
    ):
      raise ValueError(f"storage {key} should have {storage.size} numbers")

    found[key] = np.frombuffer(content, storage.dtype)

  # Every byte must be accounted for.
  if rest := len(file.read()):
    raise ValueError(f"{rest} bytes follow its last number")

  return found


def _array(tensor: _Tensor, storages: dict[str, np.ndarray]) -> np.ndarray:
  """A tensor's own numbers, after checking that it lies in its storage."""
  storage, offset, shape, strides = tensor
  counts = (offset, *shape, *strides)
  if len(shape) != len(strides) or any(
    not isinstance(n, int) or n < 0 for n in counts
  ):
    raise ValueError(
      f"a tensor of shape {shape!r:.60}, strides {strides!r:.60}"
    )

  numbers = storages[storage.key]
  if numbers.dtype != storage.dtype:
    raise ValueError(f"storage {storage.key} has two types")

  last = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
  # Strides of 0 or overlaps could make a huge array of few numbers.
  size = math.prod(shape)
  if size > len(numbers) or (size and last >= len(numbers)):
    raise ValueError(f"a tensor of shape {shape!r:.60} overruns its storage")
  if not size:
    return np.zeros(shape, storage.dtype)

  # By index and not by strides: no memory outside of the storage can be read.
  places = np.full((), offset)
  for n, s in zip(shape, strides, strict=True):
    places = places[..., None] + np.arange(n) * s

  return np.asarray(numbers[places])
