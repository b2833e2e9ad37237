"""Interventions: a memory is changed between the pairs and the questions.

Test rows are read up to the questions, where a chunk and a segment end. Then
the state of the memory alone is changed; what a convolution and a window hold
comes from the filler and is left as it is.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from attnjax import memory
from attnjax.models import MemoryLM
from attnjax.nn.mixer import MixerState
from attnjax.nn.neural_memory import NeuralMemoryState
from experiments.recall_beyond_window.config import RecallConfig
from experiments.recall_task import draw_words, filled, lay_out

__all__ = ["COLUMNS", "has_memory", "intervene", "without_rate"]

COLUMNS = (
  "as trained",
  "reset",
  "swapped: own",
  "swapped: the other's",
  "rate 0",
  "sign flipped",
)


def has_memory(model: MemoryLM) -> bool:
  """Whether a model has a memory to intervene in."""
  return model.config.architecture != "attention"


def intervene(config: RecallConfig, model: MemoryLM) -> dict[str, float]:
  """Accuracy after each intervention, by the names of `COLUMNS`.

  A memory that solves for its weights descends no loss, and has no "sign
  flipped".
  """
  batch = twins(config)
  asked = config.test.pairs
  said = lambda model, change: np.argmax(
    answer_logits(model, batch["tokens"], asked, change), -1
  )

  wanted = batch["targets"]
  share = lambda found, wanted: float((found == wanted).mean())
  exchanged = said(model, swapped)

  found = [
    share(said(model, kept), wanted),
    share(said(model, reset), wanted),
    share(exchanged, wanted),
    # A row is asked with the memory of the row before it.
    share(exchanged, np.roll(wanted, 1, axis=0)),
    share(said(without_rate(model), kept), wanted),
  ]
  if not model.blocks.mixer.memory.rule.structure.solves:
    found.append(share(said(with_flipped_sign(model), kept), wanted))
  return dict(zip(COLUMNS, found, strict=False))


def twins(config: RecallConfig) -> dict[str, np.ndarray]:
  """Test rows with the same keys and questions, and with different values.

  So the memory alone tells the rows apart when the questions are read.
  """
  draws = np.random.default_rng(77_777)
  rows, pairs = config.test.rows, config.test.pairs
  keys, values = draw_words(config.task, draws, rows, pairs)
  asked = draws.permuted(keys, axis=1)
  same = lambda x: np.broadcast_to(x[:1], x.shape)
  length = config.test.read + pairs
  batch = lay_out(same(keys), values, same(asked), np.zeros(rows), length)
  # The same filler too, as one row has it.
  first = filled(config.task, draws, {"tokens": batch["tokens"][:1]})["tokens"]
  tokens = batch["tokens"]
  return batch | {"tokens": np.where(tokens == 0, first, tokens)}


def answer_logits(model: MemoryLM, tokens, asked: int, change: Callable):
  """Logits of the answers, the state changed before the questions."""
  fresh, state = _read(model, tokens[:, :-asked])
  return _ask(model, tokens[:, -asked:], change(state, fresh))


@jax.jit
def _read(model: MemoryLM, tokens):
  """States (before the tokens, after them)."""
  fresh = model.init_cache(tokens.shape[:1], 2 * tokens.shape[1])
  return fresh, model.decode(tokens, fresh)[1]


@jax.jit
def _ask(model: MemoryLM, tokens, state):
  """Logits of tokens that are read from a state on."""
  return model.decode(tokens, state)[0]


def kept(state: MixerState, fresh: MixerState) -> MixerState:
  """The state itself: no intervention."""
  del fresh
  return state


def reset(state: MixerState, fresh: MixerState) -> MixerState:
  """The state with memories as they were before the first token."""
  blank = fresh.memory.memory
  return _changed(state, lambda held: blank.replace(position=held.position))


def swapped(state: MixerState, fresh: MixerState) -> MixerState:
  """The state with the memory of each row given to the next row."""
  del fresh
  # The axes are blocks, rows, ...; a position has blocks alone.
  exchange = lambda x: jnp.roll(x, 1, axis=1) if x.ndim > 1 else x
  return _changed(state, lambda held: jax.tree.map(exchange, held))


def _changed(state: MixerState, change: Callable) -> MixerState:
  """Applies a change to the memories of a state, and to nothing else."""
  one = lambda held: NeuralMemoryState(change(held.memory), held.tail)
  segment: Any = state.segment
  if segment is not None:  # the memory as its segment began, which is read too
    segment = dataclasses.replace(segment, start=one(segment.start))
  return dataclasses.replace(state, memory=one(state.memory), segment=segment)


def without_rate(model: MemoryLM) -> MemoryLM:
  """The model with rate θ = 0: its memory never writes."""
  still = nnx.clone(model)
  still.blocks.mixer.memory.max_rate = 0.0
  return still


def with_flipped_sign(model: MemoryLM) -> MemoryLM:
  """The model whose writes ascend the loss that they descended in training."""
  climbing = nnx.clone(model)
  held = climbing.blocks.mixer.memory
  objective = memory.negative(held.rule.objective)
  if model.config.objective_sign == -1:  # two signs are none
    objective = held.rule.objective.objective
  held.rule = dataclasses.replace(held.rule, objective=objective)
  return climbing
