"""A kernel of a GPU in Triton's interpreter: slow, on any machine."""

import functools
import threading
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from attnjax.extras import needs_extra
from attnjax.ops.tiles.gpu.text import function_of

__all__ = ["interpreted"]

# The interpreter changes Triton while it runs, and devices have threads.
_ALONE = threading.Lock()


def interpreted(
  text: str, operands: Sequence, outs: Sequence, programs: int
) -> list:
  """The results of a kernel, computed by NumPy.

  Args:
    text: of the kernel.
    operands: that it reads.
    outs: shapes and dtypes of what it writes.
    programs: how many it has.
  """
  run = functools.partial(_run, text, tuple(outs), programs)
  return jax.pure_callback(run, list(outs), *operands, vmap_method="sequential")


def _run(text: str, outs: Sequence, programs: int, *operands) -> list:
  """The kernel, its arrays in the memory of this process."""
  with needs_extra("cuda", "kernels for GPUs are written in Triton"):
    from triton.runtime.interpreter import GridExecutor

  results = [np.zeros(x.shape, x.dtype) for x in outs]
  arrays = [np.ascontiguousarray(x) for x in operands]
  function = _interpretable(text)
  names = list(function.__code__.co_varnames[: function.__code__.co_argcount])
  with _ALONE, np.errstate(all="ignore"):
    GridExecutor(function, names, (programs,))(
      *(_Pointer(x) for x in (*arrays, *results))
    )
  return results


@functools.lru_cache(maxsize=64)
def _interpretable(text: str):
  """The function that a text defines, for the interpreter."""
  import triton.language as tl

  # The functions of Triton that reduce are compiled ones: an interpreter has
  # what they are made of.
  standard = tl.standard
  reducing = {
    "take_sum": lambda x, axis: tl.reduce(x, axis, standard._sum_combine),
    "take_max": lambda x, axis: tl.reduce(x, axis, standard._elementwise_max),
    "take_min": lambda x, axis: tl.reduce(x, axis, standard._elementwise_min),
  }
  return function_of(text, lambda function: function, reducing)


class _Pointer:
  """An array as the interpreter takes one: it asks for these and no others."""

  def __init__(self, array: np.ndarray):
    self.array, self.dtype = array, jnp.dtype(array.dtype).name

  def data_ptr(self) -> int:
    """Where it begins."""
    return self.array.ctypes.data

  def untyped_storage(self) -> "_Pointer":
    """Itself, for it owns its memory."""
    return self

  cpu = untyped_storage

  def new_empty(self, *_, **__) -> "_Pointer":
    """Itself: what is written is written in place."""
    return self

  def set_(self, *_) -> None:
    """Nothing is moved."""

  copy_ = set_
  storage_offset = size = stride = untyped_storage
