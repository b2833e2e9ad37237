"""Compiles one attention call for a TPU that is not here, in its own process.

libtpu reads once, when it is loaded, where to write its schedules, and does not
return from some programs although all is written. So the parent process,
`tpu_cost`, reads the files and ends this one.
"""

import functools
import json
import pathlib
import pickle
import sys
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from attnjax.ops.inlined import inlined
from attnjax.ops.tiles.fold import EMPTY
from attnjax.ops.tiles.tile_sum import sum_by_kernel
from attnjax.plan.topology import devices_of, topology
from experiments.attention_speed.tpu_calls import Blocks, TpuCase, call_of

__all__ = ["Found", "compile_call", "found_of"]


def compile_call(folder: pathlib.Path) -> None:
  """Compiles the call that `call.json` of a folder names.

  Writes `found.pickle` before: `Found`, of what the program computes. And
  `memory.json` after: bytes, if the compiler returns.
  """
  asked = json.loads((folder / "call.json").read_text())
  case = TpuCase(*asked["case"])
  blocks = asked["blocks"] and Blocks.read(asked["blocks"])
  function, arguments, values = call_of(case, asked["contender"], blocks)

  devices = devices_of(topology(asked["topology"]))
  mesh = jax.sharding.Mesh(np.array(devices[:1]), "x")
  place = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
  with jax.set_mesh(mesh):
    placed = [x.update(sharding=place) for x in arguments]
    traced = jax.jit(function).trace(*placed)

  # Within the mesh nothing can be computed: its devices are not here.
  found = Found()
  if values:
    found = found_of(traced.jaxpr, arguments, values)
  (folder / "found.pickle").write_bytes(pickle.dumps(tuple(found)))

  # Where they would be in a model, whose arrays do not fit VMEM.
  hbm = {"xla_msa_enable": "false"} if asked["operands_in_hbm"] else {}
  with jax.set_mesh(mesh):
    memory = traced.lower().compile(hbm).memory_analysis()
  taken = {"temporary": memory.temp_size_in_bytes}
  (folder / "memory.json").write_text(json.dumps(taken))


class Found(NamedTuple):
  """What a program computes that decides how much of it runs.

  Args:
    tables: of each kernel, the operands that are fetched first, in order.
    turns: how often a loop of a traced length turns, on average.
    taken: how often a branch is taken. A walk over tiles visits all of them
      once for the full and once for the mixed ones: of tiles that hold
      something each is taken in one of the two.

  >>> Found().taken
  0.5
  """

  tables: Sequence[Sequence[np.ndarray]] = ()
  turns: float | None = None
  taken: float = 0.5


def found_of(
  program, arguments: Sequence, values: dict[int, np.ndarray]
) -> Found:
  """What a program computes of values that it depends on.

  Args:
    program: closed jaxpr.
    arguments: shapes.
    values: of the arguments that it depends on, by place.
  """
  tables: list[list[np.ndarray]] = []
  turns: list[float] = []
  held: list[float] = []
  zeros = lambda line: [
    jnp.zeros(v.aval.shape, v.aval.dtype) for v in line.outvars
  ]

  def bind(line, operands):
    name = line.primitive.name
    if name == "pallas_call":
      count = line.params["grid_mapping"].num_index_operands
      tables.append([np.asarray(x) for x in operands[:count]])
      return zeros(line)
    if name == "tile_sum":
      lower = functools.partial(sum_by_kernel, **line.params)
      if line.params["form"].kernel is not None:
        inner = jax.make_jaxpr(lower)(*operands)
        inlined(inner.jaxpr, inner.consts, operands, bind)
      else:
        held.append(_share_that_holds(operands[1]))
      return zeros(line)
    if name == "scan" and _is_walk(operands[-2:]):
      held.append(_share_that_holds(operands[-1]))
      return zeros(line)
    if name == "cond" and line.params.get("branches_platforms"):
      inner = line.params["branches"][0]  # that of the TPU
      return inlined(inner.jaxpr, inner.consts, operands[1:], bind)
    if name == "while":
      # `fori_loop`: after what its parts capture, where it is and its end.
      first = sum(line.params[n] for n in ("cond_nconsts", "body_nconsts"))
      turns.append(float(operands[first + 1]))
      return operands[first:]
    return None

  inputs = [
    jnp.asarray(values.get(n, jnp.zeros(x.shape, x.dtype)))
    for n, x in enumerate(arguments)
  ]
  inlined(program.jaxpr, program.consts, inputs, bind)
  return Found(
    tables,
    sum(turns) / len(turns) if turns else None,
    sum(held) / len(held) / 2 if held else 0.5,
  )


def _is_walk(last: Sequence) -> bool:
  """Whether what a scan goes over are the tiles of a walk, and their codes."""
  shapes = [jnp.shape(x) for x in last]
  return len(shapes) == 2 and shapes[0] == (*shapes[1], 4)


def _share_that_holds(codes) -> float:
  """How many of some tiles hold something, of all of them."""
  return float(np.mean(np.asarray(codes) != EMPTY))


if __name__ == "__main__":
  compile_call(pathlib.Path(sys.argv[1]))
