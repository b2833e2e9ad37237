"""Speed of one memory layer, ours beside that of titans-pytorch."""

import functools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from attnjax.nn import NeuralMemory
from experiments.memory_speed.config import MemorySpeedConfig
from experiments.memory_speed.layer import (
  LayerCase,
  arrays,
  layer_and_gradient,
)
from experiments.timing.jax_timing import prepare_jax
from experiments.timing.records import record
from experiments.timing.rounds import Prepare, measure
from experiments.timing.torch_process import TorchChild
from experiments.timing.witness import sample

__all__ = ["cases_of", "records_of_layer"]

OURS, MODULE, THEIRS = "attnjax", "attnjax.nn", "titans_pytorch"
_UPDATES: tuple[Literal["token", "chunk"], ...] = ("token", "chunk")


def cases_of(config: MemorySpeedConfig) -> list[LayerCase]:
  """All cases of a config: every size, kind of step and chunk.

  The first size also with a chunk as long as the sequence, which is their
  default, and with a residual.
  """
  of = config.layer
  make = functools.partial(LayerCase, heads=of.heads, head_width=of.head_width)
  found = []

  for batch, length in of.shapes():
    for updates in _UPDATES:
      found += [make(batch, length, chunk, updates) for chunk in of.chunks]

  batch, length = of.shapes()[0]
  found.append(make(batch, length, length, "token"))
  for updates in _UPDATES:
    found.append(make(batch, length, of.chunks[0], updates, residual=True))
  # A chunk of the config may be as long as the sequence already.
  return list(dict.fromkeys(found))


def records_of_layer(
  config: MemorySpeedConfig, child: TorchChild, case: LayerCase
) -> Iterator[dict[str, Any]]:
  """Measures every contender on one case; yields a record each."""
  given: dict[str, Any] = dict(arrays(case, config.seed))
  # The gain of their residual is written as the maps are; ours has none.
  unlike = (MODULE, THEIRS) if case.residual else (MODULE,)

  with tempfile.TemporaryDirectory() as folder:
    # The PyTorch process reads the same arrays from a file.
    path = Path(folder) / "arrays.npz"
    np.savez(path, **given)
    prepares = _prepares(config, case, given, path, child)
    rows = measure(prepares, config.rounds, ours=OURS, unlike=unlike)
  child.drop()

  tokens = case.batch * case.length
  for row in rows:
    yield record(
      row,
      batch=case.batch,
      length=case.length,
      step=case.updates,
      chunk=case.chunk,
      residual=case.residual,
      tokens_per_second=tokens / row.seconds if row.seconds else None,
    )


def _prepares(
  config: MemorySpeedConfig,
  case: LayerCase,
  given: dict[str, np.ndarray],
  path: Path,
  child: TorchChild,
) -> dict[str, Prepare]:
  """Name -> what compiles and warms up that contender, ours first."""
  ready = functools.partial(prepare_jax, limit_gb=config.memory_limit_gb)
  whole = case.chunk == case.length
  by_token = case.updates == "token"
  first = config.layer.shapes()[0] == (case.batch, case.length)

  found: dict[str, Prepare] = {
    OURS: lambda: ready(
      functools.partial(layer_and_gradient, case),
      (jax.tree.map(jnp.asarray, given),),
      witness=_witness,
    ),
    THEIRS: lambda: child.prepare(
      "experiments.memory_speed.torch_titans",
      arrays=str(path),
      heads=case.heads,
      # Their chunk takes one step; their batch has its gradients at one place.
      chunk_size=1 if by_token else case.chunk,
      batch_size=None if by_token and whole else case.chunk,
      residual=case.residual,
    ),
  }

  # The whole layer of our models costs more: a few cases tell how much.
  if first and not whole and not case.residual:
    found[MODULE] = lambda: ready(
      _module_and_gradient,
      (_module(case), *(jnp.asarray(given[n]) for n in ("x", "cotangent"))),
      witness=lambda _: [],  # it is in `unlike`: nothing to compare
      note="another layer, with a convolution, SiLU, norms and a wide gate",
    )
  return found


def _module(case: LayerCase) -> NeuralMemory:
  """`nn.NeuralMemory`, the layer of our models, of the same size and rule."""
  make = lambda: NeuralMemory(
    case.width, case.heads, rule=case.rule, rngs=nnx.Rngs(0)
  )
  return jax.jit(make)()


def _module_and_gradient(module, x, cotangent):
  """Returns (output, gradients by the module and by x)."""
  out, pullback = jax.vjp(lambda module, x: module(x)[0], module, x)
  return out, pullback(cotangent)


def _witness(result) -> list[list[float]]:
  """Samples of output and gradient by x; norms of the other gradients."""
  out, by_x, by_given = result
  norms = [[float(np.linalg.norm(by_given[n]))] for n in sorted(by_given)]
  return [sample(out), sample(by_x), *norms]
