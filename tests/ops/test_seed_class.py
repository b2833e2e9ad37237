"""The `SelfAttention` class of the notes that the library began with.

A PyTorch module of three `nn.Linear(input_dim, input_dim)` with biases:
``softmax(bmm(q, kᵀ) / input_dim**0.5, dim=2)``, then ``bmm(attention, v)``.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import attnjax
from attnjax.nn import SelfAttention
from attnjax.ops.heads import Projection, SelfAttentionParams
from tests import drawn

B, T, D = 3, 7, 5
X, *KERNELS = drawn.arrays((B, T, D), *[(D, D)] * 3)
BIASES = drawn.arrays(*[(D,)] * 3, seed=1)
PARAMS = SelfAttentionParams(*map(Projection, KERNELS, BIASES))


def ours():
  run = lambda params, x: attnjax.self_attention(params, x, aux=("weights",))
  out, aux = jax.jit(run)(PARAMS, X)
  return np.asarray(out), np.asarray(aux.weights[:, 0])


def golden():
  """The class in float64, line by line."""
  x = np.asarray(X, np.float64)
  queries, keys, values = (
    x @ np.asarray(kernel, np.float64) + np.asarray(bias, np.float64)
    for kernel, bias in zip(KERNELS, BIASES, strict=True)
  )
  scores = queries @ keys.transpose(0, 2, 1) / D**0.5
  attention = np.exp(scores) / np.exp(scores).sum(2, keepdims=True)
  return attention @ values, attention


def test_is_the_class_of_the_notes_in_numpy():
  for got, expected in zip(ours(), golden(), strict=True):
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_the_module_is_the_class_of_the_notes():
  layer = SelfAttention(D, rngs=nnx.Rngs(0))
  layers = (layer.query, layer.key, layer.value)
  for linear, projection in zip(layers, PARAMS, strict=True):
    linear.kernel[...] = projection.kernel
    linear.bias[...] = projection.bias
  out, aux = layer(X, aux=("weights",))
  for got, expected in zip((out, aux.weights[:, 0]), golden(), strict=True):
    np.testing.assert_allclose(got, expected, atol=1e-5)
  with pytest.raises(ValueError, match="width must be at least 1, got 0"):
    SelfAttention(0, rngs=nnx.Rngs(0))


def test_is_the_class_of_the_notes_in_pytorch():
  torch = pytest.importorskip("torch")
  nn = torch.nn

  class SelfAttention(nn.Module):
    def __init__(self, input_dim):
      super().__init__()
      self.input_dim = input_dim
      self.query = nn.Linear(input_dim, input_dim)
      self.key = nn.Linear(input_dim, input_dim)
      self.value = nn.Linear(input_dim, input_dim)
      self.softmax = nn.Softmax(dim=2)

    def forward(self, x):
      queries = self.query(x)
      keys = self.key(x)
      values = self.value(x)
      scores = torch.bmm(queries, keys.transpose(1, 2)) / (self.input_dim**0.5)
      attention = self.softmax(scores)
      return torch.bmm(attention, values)

  layer = SelfAttention(D)
  layers = (layer.query, layer.key, layer.value)
  with torch.no_grad():
    for linear, projection in zip(layers, PARAMS, strict=True):
      linear.weight.copy_(torch.tensor(np.asarray(projection.kernel).T))
      linear.bias.copy_(torch.tensor(np.asarray(projection.bias)))
    expected = layer(torch.tensor(np.asarray(X))).numpy()
  np.testing.assert_allclose(ours()[0], expected, atol=1e-5)


@pytest.mark.parametrize("changed", ["value", "query", "key"])
def test_weights_come_from_queries_and_keys_alone(changed):
  other = PARAMS._replace(**{changed: Projection(jnp.eye(D))})
  run = jax.jit(
    lambda params: attnjax.self_attention(params, X, aux=("weights",))
  )
  (out, aux), (out_, aux_) = run(PARAMS), run(other)
  same = bool((aux.weights == aux_.weights).all())
  assert same == (changed == "value")
  assert np.abs(out - out_).max() > 1e-2
