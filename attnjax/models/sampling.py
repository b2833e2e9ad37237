"""Sampling: one token drawn from logits, cut to the likeliest."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from attnjax.ops.integers import known
from attnjax.typing import Array, Float, Int, Key

__all__ = ["check_sampling", "sample"]


def sample(
  logits: Float[Array, "*B V"],
  key: Key[Array, ""],
  *,
  temperature: Any = 1.0,
  top_k: int | None = None,
  top_p: Any = None,
) -> Int[Array, "*B"]:
  """Draws a token from softmax(logits / temperature), cut to the likeliest.

  Args:
    logits: ``*B V``; drawn in float32 or wider, for in bfloat16 the noise that
      chooses has ties.
    key: of the draw.
    temperature: >= 0; 0 takes the likeliest token (greedy).
    top_k: keep the k likeliest tokens; None keeps all.
    top_p: keep the likeliest tokens, just enough that their probability (after
      top_k) reaches p, in (0, 1]; None keeps all. The likeliest always stays.

  Returns:
    int32 ``*B``; -1, which is no token, where a logit is NaN.

  Raises:
    ValueError: if top_k, top_p or temperature is out of range.

  >>> logits = jnp.log(jnp.array([0.6, 0.3, 0.1]))
  >>> keys = jax.random.split(jax.random.key(0), 100)
  >>> draw = jax.vmap(lambda k: sample(logits, k, top_p=0.7))(keys)
  >>> sorted(set(draw.tolist()))  # 0.6 alone does not reach 0.7
  [0, 1]

  Reference:
    Holtzman et al., "The Curious Case of Neural Text Degeneration", 2019,
    arXiv 1904.09751 (top-p); Fan, Lewis, Dauphin, "Hierarchical Neural Story
    Generation", 2018, arXiv 1805.04833 (top-k).
  """
  check_sampling(logits.shape[-1], temperature, top_k, top_p)
  if jnp.finfo(logits.dtype).bits < 32:
    logits = logits.astype(jnp.float32)
  order = jnp.argsort(-logits, axis=-1, stable=True)
  best_first = jnp.take_along_axis(logits, order, axis=-1)
  greedy = jnp.asarray(temperature) == 0
  heat = jnp.where(greedy, 1, temperature).astype(logits.dtype)
  scaled = best_first / heat
  rank = jnp.arange(logits.shape[-1]).reshape((1,) * (logits.ndim - 1) + (-1,))
  if top_k is not None:
    scaled = jnp.where(rank < top_k, scaled, -jnp.inf)
  if top_p is not None:
    probability = jax.nn.softmax(scaled, axis=-1)
    before = jnp.cumsum(probability, axis=-1) - probability
    scaled = jnp.where((before < top_p) | (rank == 0), scaled, -jnp.inf)
  drawn = jax.random.categorical(key, scaled, axis=-1)
  place = jnp.where(greedy, 0, drawn)
  token = jnp.take_along_axis(order, place[..., None], axis=-1)[..., 0]
  # Logits that are no numbers draw no token: -1, which embeds to NaN.
  drawable = ~jnp.isnan(logits).any(axis=-1)
  return jnp.where(drawable, token, -1).astype(jnp.int32)


def check_sampling(vocabulary: int, temperature, top_k, top_p) -> None:
  """Sampling options are in range, as far as they are known now."""
  if known(temperature) and not np.asarray(temperature) >= 0:
    raise ValueError(f"temperature must be >= 0, got {temperature}")
  if top_k is not None and not 1 <= top_k <= vocabulary:
    raise ValueError(
      f"top_k must be within 1 and the vocabulary of {vocabulary}, got {top_k}"
    )
  if top_p is not None and known(top_p) and not 0 < np.asarray(top_p) <= 1:
    raise ValueError(f"top_p must be in (0, 1], got {top_p}")
