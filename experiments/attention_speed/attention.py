"""Times attention calls, ours beside the peers', case by case."""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any

from experiments.attention_speed.cases import CASES, Case, useful_flops
from experiments.attention_speed.config import (
  CONTENDERS,
  PASSES,
  AttentionSpeedConfig,
  listed,
)
from experiments.attention_speed.jax_peers import (
  JAX_PEERS,
  Inputs,
  prepare_peer,
)
from experiments.attention_speed.measure import Measured, measure
from experiments.attention_speed.records import record
from experiments.attention_speed.rounds import Prepared, Refused
from experiments.attention_speed.torch_child import TorchChild

__all__ = ["cases_of", "records_of_case"]

OURS, OUR_JVP = "attnjax", "attnjax_jvp"


def cases_of(config: AttentionSpeedConfig) -> list[Case]:
  """Every case of a config, short ones first."""
  sizes = sorted(config.sizes(), key=lambda size: (size[0], size[1]))
  names = listed(config.cases, "cases", CASES)
  modes = listed(config.passes, "passes", PASSES)
  return [
    Case(
      name=name,
      mode=mode,
      length=length,
      head_width=width,
      heads=config.heads,
      batch=config.batch,
      window=config.window,
      seed=config.seed,
    )
    for (width, length), name, mode in itertools.product(sizes, names, modes)
  ]


def records_of_case(
  config: AttentionSpeedConfig, case: Case, child: TorchChild, rate: float
) -> Iterator[dict[str, Any]]:
  """Measures every contender on one case; a record each.

  Args:
    config: who takes part, and how long.
    case: the attention call.
    child: the PyTorch process.
    rate: FLOP/s of this machine's products.
  """
  prepares = _prepares(config, case, child)
  for row in measure(prepares, config.rounds, ours=OURS):
    yield _record(case, row, rate)
  child.drop()


def _prepares(
  config: AttentionSpeedConfig, case: Case, child: TorchChild
) -> dict[str, Callable[[], Prepared | Refused]]:
  """Name -> what makes that contender ready, ours first."""
  limit = config.memory_limit_gb
  inputs = Inputs.of(case)
  jax_peer = functools.partial(
    prepare_peer, limit_gb=limit, implementation=config.implementation
  )
  found: dict[str, Callable[[], Prepared | Refused]] = {}
  for name in listed(config.contenders, "contenders", CONTENDERS):
    if name in JAX_PEERS:
      found[name] = functools.partial(jax_peer, name, inputs)
    else:
      found[name] = functools.partial(child.attention, name, case, limit)
    if name == OURS and config.jvp and case.mode == "forward":
      tangent = Inputs.of(dataclasses.replace(case, mode="jvp"))
      found[OUR_JVP] = functools.partial(jax_peer, name, tangent)
  return found


def _record(case: Case, row: Measured, rate: float) -> dict[str, Any]:
  """The labels of the case, what was measured, and how good that is."""
  mode = "jvp" if row.contender == OUR_JVP else case.mode
  flops = useful_flops(dataclasses.replace(case, mode=mode))
  per_second = flops / row.seconds if row.seconds else None
  return record(
    row,
    case=case.name,
    mode=case.mode,
    length=case.length,
    head_width=case.head_width,
    useful_flops=flops,
    matmul_fraction=per_second / rate if per_second else None,
  )
