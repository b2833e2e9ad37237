"""The memory of Titans against an independent implementation, in PyTorch.

titans-pytorch takes the mean over features for its loss, so its gradients are
2 / E of ours: our rate is that much of theirs. It takes the steps of a chunk by
the mean of the chunk's gates; a chunk of 1 has none of that. Its `batch_size`
says where gradients are taken: 1, at every token; None, all at the first
weights, which is a chunk of ours as long as the sequence.
"""

import importlib
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax import memory

pytestmark = pytest.mark.slow
B, T, D = 2, 11, 5


@pytest.fixture(scope="module")
def torch():
  """PyTorch in float64, and titans_pytorch in it."""
  found = pytest.importorskip("torch", reason="needs attnjax[torch]")
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # theirs, not ours to mend
    pytest.importorskip("titans_pytorch", reason="needs attnjax[torch]")
  before = found.get_default_dtype()
  found.set_default_dtype(found.float64)
  yield found
  found.set_default_dtype(before)


def perceptron(torch, depth):
  """Their MemoryMLP, with the gelu that JAX and the TTT paper have."""

  class Perceptron(torch.nn.Module):
    def __init__(self):
      super().__init__()
      sizes = (D, *([2 * D] * (depth - 1)), D)
      draw = lambda n: torch.randn(sizes[n], sizes[n + 1]) / sizes[n] ** 0.5
      self.weights = torch.nn.ParameterList([draw(n) for n in range(depth)])

    def forward(self, x):
      x = x @ self.weights[0]
      for weight in list(self.weights)[1:]:
        x = torch.nn.functional.gelu(x, approximate="tanh") @ weight
      return x

  return Perceptron()


def theirs(torch, depth, momentum, batch_size, x):
  """(answers, module) of a sequence."""
  titans = importlib.import_module("titans_pytorch")
  torch.manual_seed(0)
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    module = titans.NeuralMemory(
      dim=D,
      chunk_size=1,
      batch_size=batch_size,
      heads=1,
      model=perceptron(torch, depth),
      momentum=momentum,
      pre_rmsnorm=False,
      mem_model_norm_add_residual=False,
    )
    answers, _ = module(torch.tensor(np.asarray(x)))
  return answers.detach().numpy(), module


def ours(module, depth, momentum, chunk, x):
  """The same numbers through `memory.stream`."""
  number = lambda p: jnp.asarray(p.detach().numpy())
  # A layer, or a row of one and how it arranges its output.
  layer = lambda m: m[0] if hasattr(m, "__getitem__") else m
  project = lambda m: x @ number(layer(m).weight).T
  gate = lambda m: jax.nn.sigmoid(
    project(m) + number(layer(m).bias)[None, None]
  )
  rule = memory.Rule(
    memory.mlp(depth, 2),
    memory.l2(),
    memory.decay(),
    memory.momentum() if momentum else memory.gradient_descent(),
    gradients="chunk",
    chunk=chunk,
  )
  # One head: theirs have its axis already.
  learned = map(number, module.memory_model_parameters)
  weights = {f"map_{n}": w for n, w in enumerate(learned)}
  state = memory.init(rule, (B,), 1, D, weights=weights, dtype=jnp.float64)
  gates = memory.Gates(
    2 / D * gate(module.to_adaptive_step),
    gate(module.to_momentum) if momentum else None,
    gate(module.to_decay_factor),
  )
  asked = (module.to_queries, module.to_keys, module.to_values)
  arrays = (project(m)[:, :, None] for m in asked)
  _, answers = memory.stream(state, *arrays, gates)
  return answers[:, :, 0]


@pytest.mark.parametrize("batch_size", [1, None])
@pytest.mark.parametrize("momentum", [True, False])
@pytest.mark.parametrize("depth", [1, 2])
def test_is_the_one_of_titans_pytorch(torch, depth, momentum, batch_size):
  with jax.enable_x64(True):
    x = np.random.default_rng(0).standard_normal((B * T, D)).reshape(B, T, D)
    expected, module = theirs(torch, depth, momentum, batch_size, x)
    chunk = 1 if batch_size == 1 else T
    got = ours(module, depth, momentum, chunk, jnp.asarray(x))
    # Of answers of a size of 1, 1.1e-15 was reached.
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-14)
