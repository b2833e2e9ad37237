"""Memory and transfers of sharded attention, compiled for a machine."""

import re
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

import attnjax
from attnjax import masks, parallel
from attnjax.parallel.token_layouts import TokenLayout
from attnjax.plan import topology
from attnjax.plan.topology import devices_of
from experiments.sharding.config import ShardingConfig

__all__ = ["Memory", "flights", "made", "memory", "plan_of"]

_KINDS = {
  "ring": parallel.RingAttention,
  "gather": parallel.AllGatherAttention,
  "ulysses": parallel.UlyssesAttention,
}


class Memory(NamedTuple):
  """Memory of a device for the gradient of one causal attention."""

  machine: str
  kind: str
  length: int  # T
  temporary: int  # beside queries, keys, values and their gradients
  in_flight: tuple[int, int]  # transfers that loops run under, of how many


def made(kind: str, layout: TokenLayout, machine: str):
  """A sharded attention over all devices of a machine."""
  found = topology(machine)
  mesh = parallel.make_mesh(devices_of(found), sequence=found.devices)
  return _KINDS[kind](mesh, "sequence", layout)


def memory(
  config: ShardingConfig, machine: str, kind: str, length: int
) -> Memory:
  """Compiles the gradient of a causal attention, zigzag, and runs nothing.

  Raises:
    NotImplementedError: the compiler reports no memory.
  """
  attention = made(kind, "zigzag", machine)
  call = _call(config, attention, length, masks.causal())

  def loss(*arrays):
    return call(attention, *arrays).astype(jnp.float32).sum()

  # By queries, keys and values, as a training step needs it.
  gradient = jax.jit(jax.grad(loss, (0, 1, 2)))
  compiled = gradient.lower(*_shapes(config, attention, length)).compile()

  analysis, text = compiled.memory_analysis(), compiled.as_text()
  if analysis is None or text is None:
    raise NotImplementedError(f"the compiler for {machine} keeps no account")

  temporary = analysis.temp_size_in_bytes
  return Memory(machine, kind, length, temporary, flights(text))


def flights(text: str) -> tuple[int, int]:
  """Counts (transfers that a loop runs under, all transfers) of a program.

  Both are 0 of a compiler that does not start and end transfers apart, as that
  for TPUs does.

  Args:
    text: HLO of a scheduled program.
  """
  # Name of a transfer that was started -> whether a loop came since.
  covered, every, under_way = 0, 0, {}

  for line in text.splitlines():
    if found := re.search(r"%(\S+) = .* collective-permute-start\(", line):
      under_way[found[1]] = False
    elif " while(" in line:
      under_way = dict.fromkeys(under_way, True)
    elif found := re.search(r"collective-permute-done\(%([^\s,)]+)", line):
      every += 1
      covered += under_way.pop(found[1])

  return covered, every


def plan_of(
  config: ShardingConfig, layout: TokenLayout, mask, machine: str, length: int
) -> tuple[np.ndarray, tuple[int, ...]]:
  """Tiles that each device of a ring computes, and the steps of the ring."""
  attention, found = made("ring", layout, machine), []
  call = _call(config, attention, length, mask)

  # Traced, for `work` and `steps` look at shapes and shardings alone.
  def ask(*arrays):
    found.append(call(attention.work, *arrays))
    found.append(call(attention.steps, *arrays))

  jax.eval_shape(ask, *_shapes(config, attention, length))
  return found[0], found[1]


def _call(config: ShardingConfig, attention, length: int, mask) -> Callable:
  """``(function, query, key, value) -> result``, with the options of a call."""
  # Tokens lie in the order of the layout, positions with them.
  place = attention.permute(np.arange(length, dtype=np.int32))
  options = {
    "mask": mask,
    "query_positions": place,
    "key_positions": place,
    "implementation": attnjax.Blockwise(config.block, config.block),
  }
  return lambda function, *arrays: function(*arrays, **options)


def _shapes(config: ShardingConfig, attention, length: int) -> list:
  """Shapes of query, key and value: one row, sharded along the tokens."""
  spec = PartitionSpec(None, attention.axis)
  return [
    jax.ShapeDtypeStruct(
      (1, length, heads, config.width),
      config.dtype,
      sharding=NamedSharding(attention.mesh, spec),
    )
    for heads in (config.heads, config.shared, config.shared)
  ]
