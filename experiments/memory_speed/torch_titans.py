"""The memory layer of titans-pytorch, from arrays in a file, timed."""

import warnings
from collections.abc import Mapping
from importlib import metadata

import numpy as np
import torch
import torch.nn.functional as F

from experiments.timing.torch_timing import Answer, prepared
from experiments.timing.witness import sample

with warnings.catch_warnings():
  warnings.simplefilter("ignore")  # at import, of its own
  import titans_pytorch

__all__ = ["prepare"]


class Perceptron(titans_pytorch.MemoryMLP):
  """Their perceptron, with the tanh gelu that JAX and the TTT paper use."""

  def forward(self, x):
    first, *rest = self.weights
    x = x @ first
    for weight in rest:
      x = F.gelu(x, approximate="tanh") @ weight
    return x


def prepare(
  arrays: str,
  heads: int,
  chunk_size: int,
  batch_size: int | None,
  residual: bool,
) -> Answer:
  """Output and gradients of the layer, ready to be timed.

  Args:
    arrays: file of inputs, cotangent and parameters; see `layer.arrays`.
    heads: H.
    chunk_size: tokens that take one step together.
    batch_size: tokens whose gradients are taken at one place; None is all.
    residual: whether the memory answers its query plus a normalised change.
  """
  with np.load(arrays) as file:
    data = dict(file)
  x = torch.from_numpy(data.pop("x")).requires_grad_()
  cotangent = torch.from_numpy(data.pop("cotangent"))
  head_width = data["map_0"].shape[1]

  module = titans_pytorch.NeuralMemory(
    dim=x.shape[-1],
    dim_head=head_width,
    heads=heads,
    chunk_size=chunk_size,
    batch_size=batch_size,
    model=Perceptron(head_width, depth=2, expansion_factor=4.0),
    momentum=True,
    mem_model_norm_add_residual=residual,
  )

  places = _places(module)
  _load(places, data)
  leaves = [x, *(places[name] for name in sorted(places))]

  def step() -> tuple:
    out, _ = module(x)
    return (out.detach(), *torch.autograd.grad(out, leaves, cotangent))

  note = f"titans-pytorch {metadata.version('titans-pytorch')}"
  return prepared(step, _witness, note=note)


def _places(module) -> dict[str, torch.nn.Parameter]:
  """Their parameters, by the names of `layer.arrays`."""
  named = {
    "query": module.to_queries,
    "key": module.to_keys,
    "value": module.to_values,
    "combine": module.combine_heads,
    "gate": module.retrieve_gate[0],
    "asked_norm": module.retrieve_norm,
    "stored_norm": module.store_norm,
    "rate": module.to_adaptive_step[0],
    "momentum": module.to_momentum[0],
    "decay": module.to_decay_factor[0],
  }
  places = {name: layer.weight for name, layer in named.items()}
  for name in ("rate", "momentum", "decay"):
    places[f"{name}_bias"] = named[name].bias

  # Maps of the memory are numbered `weights.0`, `weights.1`.
  names = module.memory_model_parameter_names
  for name, place in zip(names, module.memory_model_parameters, strict=True):
    *_, last = name.split(".")
    places[f"map_{last}" if last.isdigit() else last] = place
  return places


def _load(places: Mapping, data: Mapping[str, np.ndarray]) -> None:
  """Copies arrays into parameters; `nn.Linear` stores (out, in)."""
  for name, array in data.items():
    value = torch.from_numpy(array)
    # Heads share the memory of their first weights, which none can be copied
    # into.
    places[name].data = (value.T if value.ndim == 2 else value).contiguous()


def _witness(results: tuple) -> list[list[float]]:
  """Samples of output and gradient by x; norms of the other gradients."""
  out, by_x, *others = results
  samples = [sample(x.detach().numpy()) for x in (out, by_x)]
  return samples + [[float(x.square().sum()) ** 0.5] for x in others]
