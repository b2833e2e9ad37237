"""BERT in float64 numpy, from its published tensors and names."""

import math

import numpy as np

__all__ = ["features_of"]


def _norm(x, scale, bias, epsilon):
  x = x - x.mean(-1, keepdims=True)
  return x / np.sqrt((x * x).mean(-1, keepdims=True) + epsilon) * scale + bias


def _gelu(x):
  return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def features_of(tensors, tokens, *, heads, depth, epsilon=1e-12):
  """Features ``T M`` of one row of tokens, all of the first kind."""

  def get(name):
    return np.asarray(tensors[name], np.float64)

  def linear(name, x):
    return x @ get(f"{name}.weight").T + get(f"{name}.bias")

  def norm(name, x):
    return _norm(x, get(f"{name}.weight"), get(f"{name}.bias"), epsilon)

  x = get("embeddings.word_embeddings.weight")[tokens]
  x = x + get("embeddings.position_embeddings.weight")[: len(tokens)]
  x = x + get("embeddings.token_type_embeddings.weight")[0]
  x = norm("embeddings.LayerNorm", x)
  for i in range(depth):
    layer = f"encoder.layer.{i}"
    split = lambda y: y.reshape(len(tokens), heads, -1).transpose(1, 0, 2)
    query, key, value = (
      split(linear(f"{layer}.attention.self.{name}", x))
      for name in ("query", "key", "value")
    )
    logits = query @ key.transpose(0, 2, 1) / math.sqrt(key.shape[-1])
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    out = powers / powers.sum(-1, keepdims=True) @ value
    out = out.transpose(1, 0, 2).reshape(len(tokens), -1)
    out = linear(f"{layer}.attention.output.dense", out)
    x = norm(f"{layer}.attention.output.LayerNorm", x + out)
    hidden = _gelu(linear(f"{layer}.intermediate.dense", x))
    change = linear(f"{layer}.output.dense", hidden)
    x = norm(f"{layer}.output.LayerNorm", x + change)
  return x
