"""Train, validation and test splits by a hash of each item's key."""

import hashlib
from typing import Literal

__all__ = ["SplitName", "hash_split"]

SplitName = Literal["train", "validation", "test"]


def hash_split(key: str | bytes, validation: float, test: float) -> SplitName:
  """The split that an item belongs to: a pure function of its key.

  SHA-256 turns the key into a number in [0, 1): below `test` it is tested on,
  then up to `test + validation` validated on. Neither the order of the items
  nor a seed matters, and more data moves no item to another split.

  Args:
    key: identity of the item; items with the same key are in the same split.
    validation: about which part to validate on, in [0, 1).
    test: about which part to test on, in [0, 1); both together below 1.

  Returns:
    "train", "validation" or "test".

  Raises:
    ValueError: the fractions leave nothing to train on.

  >>> splits = [hash_split(str(n), 0.1, 0.2) for n in range(1000)]
  >>> splits.count("validation"), splits.count("test")
  (112, 212)
  """
  if not (validation >= 0 and test >= 0 and validation + test < 1):
    raise ValueError(
      f"validation={validation}, test={test}: expected fractions of 0 or more"
      " that add up to less than 1; 0.05 and 0.1 are usual."
    )

  content = key.encode() if isinstance(key, str) else key
  digest = hashlib.sha256(content).digest()
  # 64 bits, more than the 53 that a float keeps.
  place = int.from_bytes(digest[:8], "big") / 2**64
  # Tested on first: another validation part leaves the test set as it is.
  if place < test:
    return "test"

  return "validation" if place < test + validation else "train"
