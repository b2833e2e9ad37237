"""Alternatives to a planned step: remat, microbatches, other meshes."""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax

from attnjax.config import leaves, replace_leaves
from attnjax.plan import Memory, Plan

__all__ = ["alternatives", "compile_alternatives", "excess"]


def alternatives(
  config: Any, devices: int, over: float = 1.0, step: str = "train"
) -> Iterator[dict[str, Any]]:
  """Yields changes of config leaves, the likeliest to help first.

  All do the same arithmetic on the same batch, and train the same model.
  Decoding stores no activations for a gradient: only the mesh can change.

  Args:
    config: of an experiment.
    devices: of the machine.
    over: factor by which the memory of a microbatch must shrink, see `excess`;
      1 and less is none.
    step: "train" or "decode".
  """
  known = {leaf.name: leaf.value for leaf in leaves(config)}
  parts = known["train.microbatches"]
  sizes = config.train.mesh.axes(devices)
  if step == "decode":
    yield from _meshes(sizes)
    return

  if over > 1:
    yield from _smaller(known, sizes, over)

  if "model.remat" in known:
    yield {"model.remat": not known["model.remat"]}

  for count in (2 * parts, 4 * parts, parts // 2, 8 * parts):
    if count and known["data.batch_size"] % count == 0:
      yield {"train.microbatches": count}

  if "model.remat" in known:
    yield {"model.remat": True, "train.microbatches": 2 * parts}

  yield from _meshes(sizes)


def _smaller(
  known: Mapping[str, Any], sizes: Mapping[str, int], over: float
) -> Iterator[dict[str, Any]]:
  """Yields changes that make a microbatch `over` times smaller, or remat."""
  if over == math.inf:  # what is there whatever the rows are: share it out
    yield from _meshes(sizes)

  rows = known["data.batch_size"] // (sizes["data"] * sizes["fsdp"])
  parts = known["train.microbatches"]
  counts = [n for n in range(parts + 1, rows + 1) if rows % n == 0]
  enough = [n for n in counts if n >= parts * over]
  # A model without the setting has no remat to turn on.
  plain = not known.get("model.remat", True)
  if plain:
    yield {"model.remat": True}

  # Where none is enough: the most parts that the rows allow come nearest.
  for count in (enough or counts[-1:])[:2]:
    yield {"train.microbatches": count}
    if plain:
      yield {"model.remat": True, "train.microbatches": count}


def _meshes(sizes: Mapping[str, int]) -> Iterator[dict[str, Any]]:
  """Yields other meshes of the same devices."""
  for source, target in (
    ("data", "fsdp"),
    ("fsdp", "tensor"),
    ("tensor", "fsdp"),
    ("data", "tensor"),
    ("fsdp", "data"),
  ):
    # Half of an axis, and all of it.
    for factor in (2, sizes[source]):
      if factor > 1 and sizes[source] % factor == 0:
        moved = dict(sizes) | {
          source: sizes[source] // factor,
          target: sizes[target] * factor,
        }

        yield {f"train.mesh.{axis}": size for axis, size in moved.items()}


def excess(memory: Memory) -> float:
  """Factor by which a microbatch must shrink for a step to fit.

  Arguments and gradients have the same size for every microbatch.

  Args:
    memory: of the step.

  Returns:
    1 where it fits; infinity where no microbatch is small enough.

  >>> from attnjax.plan import Memory
  >>> memory = Memory({"parameters": 2}, 0, 2, None, 14, 0, 0, 8, exact=False)
  >>> excess(memory)  # 12 in the place of 4
  3.0
  """
  if memory.fits:
    return 1.0
  # Arguments and gradients do not shrink with the microbatch.
  fixed = sum(memory.parts.values()) + memory.gradients
  room = memory.capacity - fixed
  return max((memory.total - fixed) / room, 1.0) if room > 0 else math.inf


def compile_alternatives(
  config: Any,
  devices: int,
  count: int,
  planned_for: Callable[[Any], Plan],
  over: float = 1.0,
  step: str = "train",
) -> dict[str, Plan]:
  """Compiles the first `count` valid changes; returns their plans by name.

  Args:
    config: of an experiment.
    devices: of the machine.
    count: how many to compile, at most.
    planned_for: config -> its plan. A change with a ValueError is skipped; an
      error of the compiler is printed.
    over: as for `alternatives`.
    step: as for `alternatives`.
  """
  known = {leaf.name: leaf.value for leaf in leaves(config)}
  plans: dict[str, Plan] = {}
  seen: set[str] = set()
  for change in alternatives(config, devices, over, step):
    new = {k: v for k, v in change.items() if known[k] != v}
    name = ", ".join(f"{leaf}={value}" for leaf, value in new.items())
    if len(plans) == count:
      break
    if not new or name in seen:
      continue
    seen.add(name)
    try:
      plans[name] = planned_for(replace_leaves(config, new))
    except ValueError:
      continue  # the mesh does not divide it, or it is no valid config
    except jax.errors.JaxRuntimeError as error:
      complaint = str(error).partition("\n")[0]
      print(f"tried {name}: the compiler failed: {complaint}", flush=True)
      continue
    print(f"tried {name}: {plans[name].memory.verdict()}", flush=True)

  return plans
