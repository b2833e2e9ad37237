"""Which side of a split an item is on, decided by the item and nothing else."""

import hashlib
from typing import Literal

Side = Literal["train", "validation", "test"]


def side_of(key: str | bytes, validation: float, test: float) -> Side:
  """The side of an item: a pure function of its key.

  SHA-256 turns the key into a number in [0, 1); the lowest part is the test
  side, the part above it the validation side. Neither the order of the items
  nor a seed matters, and more data moves nothing from one side to another.

  Args:
    key: what says whether two items belong together: give them the same key.
    validation: about which part to validate on, in [0, 1).
    test: about which part to test on, in [0, 1); both together below 1.

  Returns:
    "train", "validation" or "test".

  Raises:
    ValueError: the fractions leave nothing to train on.

  >>> sides = [side_of(str(n), validation=0.1, test=0.2) for n in range(1000)]
  >>> sides.count("validation"), sides.count("test")
  (112, 212)
  """
  if not (validation >= 0 and test >= 0 and validation + test < 1):
    raise ValueError(
      f"validation={validation}, test={test}: expected fractions of 0 or more"
      " that add up to less than 1; 0.05 and 0.1 are usual."
    )

  content = key.encode() if isinstance(key, str) else key
  digest = hashlib.sha256(content).digest()
  place = int.from_bytes(digest[:8], "big") / 2**64
  if place < test:
    return "test"

  return "validation" if place < test + validation else "train"
