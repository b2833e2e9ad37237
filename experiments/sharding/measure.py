"""What the compiler plans for a divided call, and what the call computes."""

import re
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

import attnjax
from attnjax import masks, parallel
from attnjax.parallel.layouts import Layout
from experiments.sharding.config import ShardingConfig
from experiments.sharding.machines import devices, size

__all__ = ["Memory", "flights", "made", "memory", "plan_of"]

_KINDS = {
  "ring": parallel.RingAttention,
  "gather": parallel.AllGatherAttention,
  "ulysses": parallel.UlyssesAttention,
}


class Memory(NamedTuple):
  """Bytes a device, of the gradient of one causal attention."""

  machine: str
  kind: str
  length: int  # T
  temporary: int  # beside queries, keys, values and their gradients
  in_flight: tuple[int, int]  # transfers that loops run under, of how many


def made(kind: str, layout: Layout, machine: str):
  """An attention over all devices of a machine."""
  mesh = parallel.make_mesh(devices(machine), sequence=size(machine))
  return _KINDS[kind](mesh, "sequence", layout)


def memory(
  config: ShardingConfig, machine: str, kind: str, length: int
) -> Memory:
  """Compiles the gradient of a causal attention, zigzag; runs nothing."""
  attention = made(kind, "zigzag", machine)
  call = _call(config, attention, length, masks.causal())

  def loss(*arrays):
    return call(attention, *arrays).astype(jnp.float32).sum()

  gradient = jax.jit(jax.grad(loss, (0, 1, 2)))
  compiled = gradient.lower(*_shapes(config, attention, length)).compile()
  analysis, text = compiled.memory_analysis(), compiled.as_text()
  if analysis is None or text is None:
    raise NotImplementedError(f"the compiler for {machine} keeps no account")
  temporary = analysis.temp_size_in_bytes
  return Memory(machine, kind, length, temporary, flights(text))


def flights(text: str) -> tuple[int, int]:
  """Of a scheduled program: transfers during which a loop runs, of how many.

  Only of a compiler that starts a transfer and ends it apart, as that for TPUs.
  """
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
  config: ShardingConfig, layout: Layout, mask, machine: str, length: int
) -> tuple[np.ndarray, tuple[int, ...]]:
  """Tiles that each device of a ring computes, and the steps it goes."""
  attention, found = made("ring", layout, machine), []
  call = _call(config, attention, length, mask)

  def ask(*arrays):
    found.append(call(attention.work, *arrays))
    found.append(call(attention.steps, *arrays))

  jax.eval_shape(ask, *_shapes(config, attention, length))
  return found[0], found[1]


def _call(config: ShardingConfig, attention, length: int, mask) -> Callable:
  """``(function, query, key, value) -> its answer`` to a call so long."""
  place = attention.permute(np.arange(length, dtype=np.int32))
  options = {
    "mask": mask,
    "query_positions": place,
    "key_positions": place,
    "implementation": attnjax.Blockwise(config.block, config.block),
  }
  return lambda function, *arrays: function(*arrays, **options)


def _shapes(config: ShardingConfig, attention, length: int) -> list:
  """Query, key and value, one row, divided along the tokens."""
  spec = PartitionSpec(None, attention.axis)
  return [
    jax.ShapeDtypeStruct(
      (1, length, heads, config.width),
      config.dtype,
      sharding=NamedSharding(attention.mesh, spec),
    )
    for heads in (config.heads, config.shared, config.shared)
  ]
