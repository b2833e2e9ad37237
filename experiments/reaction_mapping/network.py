"""Batched inference: attention weights and masked-token predictions."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from attnjax.models import Albert
from experiments.reaction_mapping.config import MODEL

__all__ = ["Gaps", "attention", "gaps", "guesses", "untrained"]

_ROWS = 16  # in a batch: their attention weights are 16 L H T T floats


class Gaps(NamedTuple):
  """Rows with one masked token each.

  Args:
    rows: token ids, of any lengths.
    places: index of the masked token of each row.
    answers: its id before masking.
  """

  rows: list[np.ndarray]
  places: np.ndarray
  answers: np.ndarray


def attention(model: Albert, rows: Sequence[np.ndarray]) -> list[np.ndarray]:
  """Attention weights ``L H T T`` of every head, for each row of tokens."""
  found = []
  for tokens, lengths in _batches(rows):
    weights = np.asarray(_weights(model, tokens, lengths))
    for n, length in enumerate(lengths):
      found.append(weights[:, n, :, :length, :length])
  return found[: len(rows)]


def gaps(rows: Sequence[np.ndarray], mask: int) -> Gaps:
  """Masks every token of every row in turn, except [CLS] and [SEP]."""
  hidden, places, answers = [], [], []
  for row in rows:
    for place in range(1, len(row) - 1):
      changed = row.copy()
      changed[place] = mask
      hidden.append(changed)
      places.append(place)
      answers.append(row[place])
  return Gaps(hidden, np.array(places, np.int32), np.array(answers))


def guesses(model: Albert, gaps: Gaps) -> np.ndarray:
  """Argmax prediction at each masked token, ``N``."""
  found = []
  for n, (tokens, lengths) in enumerate(_batches(gaps.rows)):
    places = gaps.places[n * _ROWS : (n + 1) * _ROWS]
    # Rows that only fill the last batch are asked at place 0, and dropped
    # below.
    places = np.pad(places, (0, _ROWS - len(places)))
    found.append(np.asarray(_likeliest(model, tokens, lengths, places)))
  return np.concatenate(found)[: len(gaps.rows)]


def untrained(seed: int) -> Albert:
  """A randomly initialised network of the published sizes."""
  return jax.jit(lambda: Albert(MODEL, rngs=nnx.Rngs(seed)))()


def _batches(rows: Sequence[np.ndarray]) -> Iterator[tuple]:
  """Yields (tokens ``16 T``, lengths ``16``), zero-padded."""
  # One shape for all batches: each further shape would be compiled anew. Rows
  # that only fill the last batch have length 1, so that their
  # softmax has a key.
  longest = max(map(len, rows))
  for start in range(0, len(rows), _ROWS):
    tokens = np.zeros((_ROWS, longest), np.int32)
    lengths = np.ones(_ROWS, np.int32)
    for n, row in enumerate(rows[start : start + _ROWS]):
      tokens[n, : len(row)], lengths[n] = row, len(row)
    yield tokens, lengths


@jax.jit
def _weights(model, tokens, lengths):
  """Attention weights, ``L B H T T``."""
  return model(tokens, lengths=lengths, aux=("weights",))[1].weights


@jax.jit
def _likeliest(model, tokens, lengths, places):
  """Argmax of the logits at one place of each row, ``B``."""
  logits = model(tokens, lengths=lengths)
  at = jnp.take_along_axis(logits, places[:, None, None], axis=1)
  return at[:, 0].argmax(-1)
