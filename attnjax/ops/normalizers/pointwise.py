"""Normalizers by which each key has a weight of its own."""

import math

import jax

from attnjax.ops.node import node, static
from attnjax.ops.normalizers.protocol import Normalizer
from attnjax.ops.value import written

__all__ = ["sigmoid"]


@node
class _Sigmoid(Normalizer):
  bias: float = static()

  def __repr__(self):
    return written("sigmoid", bias=self.bias or None)

  def weigh(self, logits):
    return jax.nn.sigmoid(logits + self.bias)


def sigmoid(bias: float = 0.0) -> Normalizer:
  """Sigmoid of each logit, weight[s] = 1 / (1 + exp(-logit[s] - bias)).

  Keys do not compete: a row sums to anything from 0 to S. Hidden keys have
  weight 0, and the bias is no part of the log-sum-exp.

  Args:
    bias: added to every logit, finite; the paper takes -log(S), with which a
      row begins at a sum near 1 as under softmax.

  Raises:
    ValueError: if the bias is not a finite number.

  >>> import jax.numpy as jnp
  >>> weights, _ = sigmoid()(jnp.array([0.0, 0.0, 99.0, -jnp.inf]))
  >>> weights.tolist()
  [0.5, 0.5, 1.0, 0.0]

  Reference:
    Ramapuram et al., "Theory, Analysis, and Best Practices for Sigmoid
    Self-Attention", 2024, arXiv 2409.04431, equation 3.
  """
  if not (isinstance(bias, int | float) and math.isfinite(bias)):
    raise ValueError(
      f"normalizer sigmoid: bias must be a finite Python number, got {bias!r};"
      " one that is learned or differs between keys is the bias= of attend"
    )
  return _Sigmoid(float(bias))
