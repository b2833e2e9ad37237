"""Flax NNX modules: they own parameters and call the primitives.

A module is a pytree: plain `jax.jit`, `jax.grad`, `jax.lax.scan` and Optax work
on it. It holds nothing but floating-point parameters.
"""

from attnjax.nn.attention import MultiHeadAttention, SelfAttention
from attnjax.nn.embed import Embedding
from attnjax.nn.glimpse import ContentGlimpse, GlimpseNetwork
from attnjax.nn.latent_attention import LatentAttention
from attnjax.nn.memory_as_context import MemoryAsContext
from attnjax.nn.memory_blocks import MemoryAlone, MemoryAsGate, MemoryAsLayer
from attnjax.nn.mixture import ExpertLinear, MixtureOfExperts
from attnjax.nn.neural_memory import NeuralMemory, NeuralMemoryState
from attnjax.nn.recurrent import GRU, GRUCell, StepAttention
from attnjax.nn.transformer_block import (
  CrossBlock,
  FeedForward,
  TransformerBlock,
)
from attnjax.nn.window_attention import WindowAttention, WindowCache
from attnjax.nn.with_attend import with_attend

__all__ = [
  "GRU",
  "ContentGlimpse",
  "CrossBlock",
  "Embedding",
  "ExpertLinear",
  "FeedForward",
  "GRUCell",
  "GlimpseNetwork",
  "LatentAttention",
  "MemoryAlone",
  "MemoryAsContext",
  "MemoryAsGate",
  "MemoryAsLayer",
  "MixtureOfExperts",
  "MultiHeadAttention",
  "NeuralMemory",
  "NeuralMemoryState",
  "SelfAttention",
  "StepAttention",
  "TransformerBlock",
  "WindowAttention",
  "WindowCache",
  "with_attend",
]
