"""Thin Flax NNX modules: they own parameters and call the primitives.

A module is a pytree: plain `jax.jit`, `jax.grad`, `jax.lax.scan` and Optax work
on it. It holds nothing but floating-point parameters.
"""

from attnjax.nn.attention import MultiHeadAttention
from attnjax.nn.block import FeedForward, TransformerBlock
from attnjax.nn.embed import Embedding

__all__ = [
  "Embedding",
  "FeedForward",
  "MultiHeadAttention",
  "TransformerBlock",
]
