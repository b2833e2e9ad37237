r"""Bytes that devices exchange in one training step, read and by formula.

    XLA_FLAGS=--xla_force_host_platform_device_count=8 JAX_PLATFORMS=cpu \
      python -m experiments.sharding.exchanges

Nothing is run: the step of a small decoder is compiled for each mesh, and its
collectives are read from the compiled program, loops multiplied out.
"""

import collections
from collections.abc import Mapping
from typing import Any

import jax
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec

from attnjax import runs, training
from attnjax.models import DecoderConfig, DecoderLM, partition_rules
from attnjax.plan.collectives import collectives
from attnjax.plan.hlo import read_program
from attnjax.runs import abstract_batch, loss_on, next_token_loss, table

__all__ = ["MESHES", "exchanges_table", "formula", "measured"]

MODEL = DecoderConfig(width=64, depth=2, heads=4, hidden=256)
WORDS, ROWS, LENGTH = 256, 8, 64
MESHES = {
  "8 data": runs.MeshConfig(data=8),
  "8 fsdp": runs.MeshConfig(fsdp=8),
  "4 fsdp x 2 tensor": runs.MeshConfig(fsdp=4, tensor=2),
  "2 data x 4 sequence": runs.MeshConfig(data=2, sequence=4),
}
Bytes = dict[tuple[str, str], float]  # (kind, axes of the mesh) -> bytes


def measured(config: runs.MeshConfig) -> Bytes:
  """Bytes of each kind of collective in the compiled step, on a device.

  Args:
    config: a mesh of all devices.

  Returns:
    As `Collective.bytes` counts them, summed over the step.
  """
  mesh = config.make()
  if mesh is None:
    return {}

  make = lambda: DecoderLM(MODEL, WORDS, rngs=nnx.Rngs(0))
  optimizer = training.make_optimizer(training.OptimizerConfig(), 1000)
  shapes = jax.eval_shape(lambda: training.init_state(make(), optimizer))
  places = training.shardings(shapes, mesh, partition_rules(shapes.params))
  on = lambda x, place: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place)
  batch = abstract_batch(ROWS, LENGTH, mesh)

  # Compiled as `runs.fit` does.
  step: Any = training.jit_step(
    training.make_step(
      loss_on(mesh, config, shapes.params, next_token_loss), optimizer
    ),
    (places, NamedSharding(mesh, PartitionSpec())),
  )

  compiled = step.lower(jax.tree.map(on, shapes, places), batch).compile()
  found: Bytes = collections.defaultdict(float)
  for one in collectives(read_program(compiled.as_text()), mesh):
    found[one.kind, " x ".join(one.axes)] += one.bytes
  return found


def formula(config: runs.MeshConfig) -> Bytes:
  """Bytes by formula, float32.

  With `A` bytes of the activations of a device's tokens, `W` of the matrices of
  the layers and `E` of the table of words, both divided by `tensor`, and `G` of
  all gradients:

      data, sequence   sum G + E: the table reads and is read out
      fsdp             gather 2 W + E: forward, and backward again; sum G;
                       exchange 2 A: the lookup, forward and backward
      tensor           sum (6 L + 2) A: after attention and feed-forward; their
                       gradients, those of query, key and value apart
      sequence         send 3 L (n - 1) (K + V) at most: keys and values,
                       forward and backward, and their gradients, whose way
                       home is decided as it runs and counts once here

  Args:
    config: the mesh.
  """
  layers, width = MODEL.depth, MODEL.width
  rows = ROWS // (config.data * config.fsdp)
  tokens = rows * LENGTH // config.sequence
  activations = 4 * tokens * width  # float32
  a_layer = 4 * width * (4 * width + 2 * MODEL.hidden) / config.tensor
  words = 4 * WORDS * width / config.tensor
  matrices = layers * a_layer
  gradients = matrices + words + 4 * width * (2 * layers + 1)

  found: Bytes = {}
  for axis in ("data", "sequence"):
    if getattr(config, axis) > 1:
      found["all-reduce", axis] = gradients + words
  if config.fsdp > 1:
    found["all-gather", "fsdp"] = 2 * matrices + words
    found["all-reduce", "fsdp"] = gradients
    found["all-to-all", "fsdp"] = 2 * activations
  if config.tensor > 1:
    found["all-reduce", "tensor"] = (6 * layers + 2) * activations
  if config.sequence > 1:
    hops = layers * (config.sequence - 1)
    found["collective-permute", "sequence"] = 3 * hops * 2 * activations
  return found


def exchanges_table(found: Mapping[str, Bytes]) -> str:
  """Table of bytes read and by formula, and of all that is in no formula."""
  lines = []

  for name, seen in found.items():
    expected = formula(MESHES[name])
    for key, count in expected.items():
      read = seen.get(key, 0.0)
      ratio = f"{read / count:.2f}"
      lines.append([name, *key, f"{read:,.0f}", f"{count:,.0f}", ratio])
    rest = sum(count for key, count in seen.items() if key not in expected)
    lines.append([name, "all others", "", f"{rest:,.0f}", "", ""])

  columns = ["mesh", "kind", "along", "bytes read", "formula", "ratio"]
  return table(columns, lines)


if __name__ == "__main__":
  print(exchanges_table({name: measured(MESHES[name]) for name in MESHES}))
