"""Words of finite groups, and the element that each of their beginnings is."""

import dataclasses
import functools
import itertools
from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

from attnjax import training
from attnjax.models import MemoryLM

__all__ = ["GROUPS", "Group", "Words", "group", "loss"]

# Name -> (things permuted, whether even permutations only, moved things of a
# letter; None: every element is a letter). The identity is a letter of all.
GROUPS: dict[str, tuple[int, bool, int | None]] = {
  "parity": (2, False, None),
  "S3": (3, False, None),
  "A5": (5, True, 3),
  "S5": (5, False, 2),
}


@dataclasses.dataclass(frozen=True, eq=False)
class Group:
  """A finite group by its table, and the elements that words are spelt with.

  Args:
    table: int ``N N``, table[a, b] is the element b after a.
    letters: int ``L``, elements of the alphabet.
  """

  table: np.ndarray
  letters: np.ndarray


@functools.cache
def group(name: str) -> Group:
  """The group of a name in `GROUPS`; element 0 is the identity.

  >>> len(group("A5").table), len(group("A5").letters)  # 20 cycles of three
  (60, 21)
  """
  count, even, moved = GROUPS[name]
  every = itertools.permutations(range(count))
  elements = [p for p in every if not even or _is_even(p)]
  index = {p: n for n, p in enumerate(elements)}
  after = lambda a, b: tuple(b[x] for x in a)
  table = [[index[after(a, b)] for b in elements] for a in elements]

  away = lambda p: sum(x != n for n, x in enumerate(p))
  letters = [
    n for n, p in enumerate(elements) if moved is None or away(p) in (0, moved)
  ]
  return Group(np.array(table, np.int32), np.array(letters, np.int32))


def _is_even(permutation) -> bool:
  """Whether it has an even number of pairs in the wrong order."""
  pairs = itertools.combinations(permutation, 2)
  return sum(a > b for a, b in pairs) % 2 == 0


@dataclasses.dataclass(frozen=True)
class Words:
  """Words of a group: `words(step)` draws new ones at every step.

  Args:
    name: of the group.
    length: letters of a word.
    rows: words of a batch.
    seed: of the draws.

  >>> batch = Words("parity", 4, 1, seed=0)(0)
  >>> odd = batch["tokens"].cumsum(axis=1) % 2
  >>> bool((batch["targets"] == odd).all())
  True
  """

  name: str
  length: int
  rows: int
  seed: int

  def __call__(self, step: int) -> dict[str, np.ndarray]:
    """Draws ``tokens`` and ``targets``, ``B T``, elements both."""
    found = group(self.name)
    draws = np.random.default_rng((self.seed, self.length, step))
    tokens = draws.choice(found.letters, (self.rows, self.length))
    state, targets = np.zeros(self.rows, np.int32), np.empty_like(tokens)
    for t in range(self.length):
      state = targets[:, t] = found.table[state, tokens[:, t]]
    return {"tokens": tokens, "targets": targets}


def loss(model: MemoryLM, batch: Mapping, key):
  """Summed (nats, letters), and how many beginnings were named correctly."""
  del key  # nothing is random
  targets = batch["targets"]
  logits = model(batch["tokens"])
  nats, count = training.cross_entropy(logits, targets, jnp.ones(targets.shape))
  hits = (jnp.argmax(logits, -1) == targets).sum()
  return nats, count, {"accuracy": hits}
