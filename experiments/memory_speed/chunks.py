"""Speed of a memory read chunk by chunk, against the loop over tokens."""

import functools
import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from attnjax import memory
from experiments.memory_speed.config import MemorySpeedConfig
from experiments.timing.jax_timing import prepare_jax
from experiments.timing.records import record
from experiments.timing.rounds import measure
from experiments.timing.witness import sample

__all__ = ["StreamCase", "records_of_stream", "streams_of"]

CHUNKED, SEQUENTIAL = "chunked", "sequential"
# Gradients that are a chunk old need small steps.
_GATES = {"rate": 1 / 256, "momentum": 0.5, "decay": 0.01}


class StreamCase(NamedTuple):
  """One call of `memory.stream`: a rule, a mode and the size of a batch."""

  rule: str
  mode: str  # forward, or forward_backward
  batch: int
  length: int


def streams_of(config: MemorySpeedConfig) -> list[StreamCase]:
  """All cases of a config: every rule, mode and size."""
  of = config.chunked
  modes = ("forward", "forward_backward")
  return [
    StreamCase(rule, mode, *shape)
    for rule, mode, shape in itertools.product(of.rules, modes, of.shapes())
  ]


def records_of_stream(
  config: MemorySpeedConfig, case: StreamCase
) -> Iterator[dict[str, Any]]:
  """Measures both implementations on one case; yields a record each."""
  given = _arrays(config, case)
  prepares = {
    name: functools.partial(
      prepare_jax,
      functools.partial(_call, config, case, name),
      (given,),
      limit_gb=config.memory_limit_gb,
      witness=lambda result: [sample(x) for x in jax.tree.leaves(result)],
    )
    for name in (CHUNKED, SEQUENTIAL)
  }

  for row in measure(prepares, config.rounds, ours=CHUNKED):
    tokens = case.batch * case.length
    yield record(
      row,
      **case._asdict(),
      chunk=config.chunked.chunk,
      tokens_per_second=tokens / row.seconds if row.seconds else None,
    )


def _rule(config: MemorySpeedConfig, case: StreamCase) -> memory.Rule:
  """The rule of a case, with the chunk of the config."""
  return getattr(memory, case.rule)(chunk=config.chunked.chunk)


def _arrays(config: MemorySpeedConfig, case: StreamCase) -> dict[str, Any]:
  """Arguments of a case: unit queries and keys, values, gates, weights."""
  of, rule = config.chunked, _rule(config, case)
  rng = np.random.default_rng((config.seed, case.length, case.batch))
  shape = (case.batch, case.length, of.heads, of.head_width)
  draw = lambda: jnp.asarray(rng.standard_normal(shape, dtype=np.float32))
  # The delta rule is stable for keys of length 1.
  unit = lambda x: x / jnp.linalg.norm(x, axis=-1, keepdims=True)

  names, key = memory.wanted_gates(rule), jax.random.key(config.seed)
  return {
    "query": unit(draw()),
    "key": unit(draw()),
    "value": unit(draw()),
    "gates": memory.Gates(
      **{name: jnp.full(shape[:-1], _GATES[name]) for name in names}
    ),
    "weights": memory.initial_weights(rule, key, of.heads, of.head_width),
  }


def _call(config: MemorySpeedConfig, case: StreamCase, name: str, given: dict):
  """Answers; with a backward pass, gradients of the sum of squares too."""

  def answers(given):
    of = config.chunked
    state = memory.init(
      _rule(config, case),
      (case.batch,),
      of.heads,
      of.head_width,
      weights=given["weights"],
    )

    arrays = (given[n] for n in ("query", "key", "value", "gates"))
    return memory.stream(state, *arrays, implementation=name)[1]

  if case.mode == "forward":
    return answers(given)
  # 2 x is the cotangent of the sum of squares.
  out, pullback = jax.vjp(answers, given)
  return out, pullback(2 * out)[0]
