"""Scores of heads on repeated random tokens, and losses without some heads."""

import copy
from collections.abc import Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from attnjax.models import DecoderLM
from experiments.induction.config import InductionConfig

__all__ = ["Scores", "controls_of", "losses", "rows_of", "scores", "silence"]

Heads = tuple[tuple[int, int], ...]  # (layer, head)


class Scores(NamedTuple):
  """Mean weights of every head, ``L H``, in [0, 1].

  Args:
    induction: of a token of the second time on the one after its first time.
    previous: of any token on the one before it.
  """

  induction: np.ndarray
  previous: np.ndarray

  def best(self, what: str, count: int) -> Heads:
    """The heads of the largest scores, the largest first."""
    array = getattr(self, what)
    order = np.argsort(-array, axis=None)[:count]
    pairs = zip(*np.unravel_index(order, array.shape), strict=True)
    return tuple((int(layer), int(head)) for layer, head in pairs)


def rows_of(config: InductionConfig, vocabulary: int) -> np.ndarray:
  """Random tokens, each row said twice: int ``B 2N``."""
  rng = np.random.default_rng(config.seed)
  once = rng.integers(0, vocabulary, (config.rows, config.length))
  return np.concatenate([once, once], axis=1).astype(np.int32)


def scores(model: DecoderLM, rows: np.ndarray) -> Scores:
  """Scores of every head, mean over rows and places."""
  count = rows.shape[1] // 2

  @jax.jit
  def of_row(model, tokens):
    weights = model(tokens, aux=("weights",))[1].weights
    # After token t of the second time comes what came after its first time.
    again = jnp.diagonal(weights[..., count:, :], 1, -2, -1)[..., :count]
    before = jnp.diagonal(weights, -1, -2, -1)
    return again.mean(-1), before.mean(-1)

  found = [of_row(model, jnp.asarray(row)) for row in rows]
  return Scores(*(np.mean(part, axis=0) for part in zip(*found, strict=True)))


def silence(model: DecoderLM, heads: Iterable[tuple[int, int]]) -> DecoderLM:
  """The model in which some heads add nothing to the residual stream."""
  pairs = np.array([*heads], np.int32).reshape(-1, 2)
  quiet = copy.copy(model)
  quiet.blocks = jax.tree.map(lambda leaf: leaf, model.blocks)
  kernel = quiet.blocks.attention.output.kernel
  kernel[...] = kernel[...].at[pairs[:, 0], pairs[:, 1]].set(0)
  return quiet


def controls_of(heads: Heads, count: int, rng: np.random.Generator) -> Heads:
  """As many heads of the same layers, drawn among the others."""
  found: list[tuple[int, int]] = []
  for layer in sorted({layer for layer, _ in heads}):
    taken = [head for at, head in heads if at == layer]
    others = sorted({*range(count)} - {*taken})
    # A layer whose heads are mostly taken has fewer others.
    size = min(len(taken), len(others))
    drawn = rng.choice(others, size, replace=False)
    found += [(layer, int(head)) for head in drawn]
  return tuple(found)


@jax.jit
def _nll(model, tokens):
  """-log p of each token after the first, nats."""
  log = jax.nn.log_softmax(model(tokens)[:-1])
  return -jnp.take_along_axis(log, tokens[1:, None], axis=-1)[:, 0]


def losses(model: DecoderLM, rows: np.ndarray) -> tuple[float, float]:
  """Nats a token of the first time and of the second, mean over rows."""
  count = rows.shape[1] // 2
  found = np.mean([_nll(model, jnp.asarray(row)) for row in rows], axis=0)
  # The first token of the second time is as surprising as any.
  return float(found[: count - 1].mean()), float(found[count:].mean())
