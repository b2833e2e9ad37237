"""Other ways to run the same step: remat, microbatches, other meshes."""

import math
from collections.abc import Callable, Iterator
from typing import Any

from attnjax.config import leaves, replace_leaves
from attnjax.plan import Plan
from attnjax.training.mesh import AXES

__all__ = ["axes", "changes", "tried"]


def axes(config: Any, devices: int) -> dict[str, int]:
  """The sizes of a config's mesh; `data=0` is all devices that are left.

  Args:
    config: of an experiment; has `train.mesh`.
    devices: of the machine.
  """
  sizes = {axis: getattr(config.train.mesh, axis) for axis in AXES}
  if not sizes["data"]:
    rest = math.prod(size for size in sizes.values() if size)
    sizes["data"] = max(devices // rest, 1)
  return sizes


def changes(config: Any, devices: int) -> Iterator[dict[str, Any]]:
  """Leaves to change, the likeliest to help first.

  All do the same arithmetic on the same batch: none changes what is learned.

  Args:
    config: of an experiment.
    devices: of the machine.
  """
  known = {leaf.name: leaf.value for leaf in leaves(config)}
  if "model.remat" in known:
    yield {"model.remat": not known["model.remat"]}
  parts = known["train.microbatches"]
  for count in (2 * parts, 4 * parts, parts // 2, 8 * parts):
    if count and known["data.batch_size"] % count == 0:
      yield {"train.microbatches": count}
  if "model.remat" in known:
    yield {"model.remat": True, "train.microbatches": 2 * parts}
  sizes = axes(config, devices)
  for source, target in (
    ("data", "fsdp"),
    ("fsdp", "tensor"),
    ("tensor", "fsdp"),
    ("data", "tensor"),
    ("fsdp", "data"),
  ):
    for factor in (2, sizes[source]):
      if factor > 1 and sizes[source] % factor == 0:
        moved = sizes | {
          source: sizes[source] // factor,
          target: sizes[target] * factor,
        }
        yield {f"train.mesh.{axis}": size for axis, size in moved.items()}


def tried(
  config: Any,
  devices: int,
  count: int,
  planned_for: Callable[[Any], Plan],
) -> dict[str, Plan]:
  """Plans of the first so many changes that can be.

  Args:
    config: of an experiment.
    devices: of the machine.
    count: how many to compile, at most.
    planned_for: config -> its plan; a ValueError passes the change over.
  """
  known = {leaf.name: leaf.value for leaf in leaves(config)}
  plans: dict[str, Plan] = {}
  for change in changes(config, devices):
    new = {k: v for k, v in change.items() if known[k] != v}
    name = ", ".join(f"{leaf}={value}" for leaf, value in new.items())
    if len(plans) == count:
      break
    if not new or name in plans:
      continue
    try:
      plans[name] = planned_for(replace_leaves(config, new))
    except ValueError:
      continue  # the mesh does not divide it, or it is no valid config
    print(f"tried {name}: {plans[name].memory.verdict()}", flush=True)
  return plans
