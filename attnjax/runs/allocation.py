"""Memory that a program frees, kept for its next allocation of large arrays.

glibc gives a large block back to the kernel when it is freed, and the kernel
fills each page of the next one with zeros at its first use. A step of training
frees and allocates the same arrays over and over: about a fifth of its time on
a CPU was spent so.
"""

import ctypes
import os

__all__ = ["keep_freed_memory"]

# Parameters of mallopt(3).
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -2, -3, -8
_SETTINGS = {
  _MMAP_THRESHOLD: 2**30,  # bytes; larger blocks are still mapped one by one
  _TRIM_THRESHOLD: 2**31 - 1,  # bytes free at the heap's end that are kept
  _TOP_PAD: 2**26,  # bytes more that the heap grows by
  # One heap for all threads: others give large blocks back all the same. Of 150
  # steps of language_model 3 s were the kernel's with it, and 10 without.
  _ARENA_MAX: 1,
}


def keep_freed_memory() -> bool:
  """Keeps what this process frees, where the allocator is glibc's.

  `runs.run` calls it, so that experiments have it; in a process of your own
  call it before the first large array. The process then holds the most memory
  that it ever had. Who sets ``MALLOC_*`` variables or `GLIBC_TUNABLES` has
  chosen for himself: nothing is changed.

  Returns:
    Whether it was set; False too on systems other than Linux with glibc.

  >>> keep_freed_memory() in (True, False)
  True

  Reference:
    mallopt(3), "set memory allocation parameters", Linux manual pages.
  """
  chosen = any(name.startswith("MALLOC_") for name in os.environ)
  if chosen or "GLIBC_TUNABLES" in os.environ:
    return False

  # Only glibc has both: musl and macOS have no mallopt.
  libc = ctypes.CDLL(None)
  if not hasattr(libc, "mallopt") or not hasattr(libc, "gnu_get_libc_version"):
    return False
  return all(libc.mallopt(name, value) for name, value in _SETTINGS.items())
