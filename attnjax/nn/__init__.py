"""Thin Flax NNX modules: they own parameters and call the primitives.

A module is a pytree: plain `jax.jit`, `jax.grad`, `jax.lax.scan` and Optax work
on it. It holds nothing but floating-point parameters.
"""

from attnjax.nn.attention import MultiHeadAttention
from attnjax.nn.block import FeedForward, TransformerBlock
from attnjax.nn.content_glimpse import ContentGlimpse
from attnjax.nn.cross_block import CrossBlock
from attnjax.nn.embed import Embedding
from attnjax.nn.glimpse import GlimpseNetwork
from attnjax.nn.memory import NeuralMemory, NeuralMemoryState
from attnjax.nn.memory_as_context import MemoryAsContext
from attnjax.nn.recurrent import GRU, GRUCell
from attnjax.nn.self_attention import SelfAttention
from attnjax.nn.step_attention import StepAttention
from attnjax.nn.titans import MemoryAlone, MemoryAsGate, MemoryAsLayer
from attnjax.nn.window import WindowAttention, WindowCache

__all__ = [
  "GRU",
  "ContentGlimpse",
  "CrossBlock",
  "Embedding",
  "FeedForward",
  "GRUCell",
  "GlimpseNetwork",
  "MemoryAlone",
  "MemoryAsContext",
  "MemoryAsGate",
  "MemoryAsLayer",
  "MultiHeadAttention",
  "NeuralMemory",
  "NeuralMemoryState",
  "SelfAttention",
  "StepAttention",
  "TransformerBlock",
  "WindowAttention",
  "WindowCache",
]
