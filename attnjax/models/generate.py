"""Generation: sampling the next token, again and again, with a cache."""

from typing import Any

import jax
import jax.numpy as jnp

from attnjax.models.decoder import DecoderLM
from attnjax.typing import Array, Float, Int, Key

__all__ = ["generate", "sample"]


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
    logits: ``*B V``.
    key: of the draw.
    temperature: >= 0; 0 takes the likeliest token (greedy).
    top_k: keep the k likeliest tokens; None keeps all.
    top_p: keep the likeliest tokens, just enough that their probability (after
      top_k) reaches p, in (0, 1]; None keeps all. The likeliest always stays.

  Returns:
    int32 ``*B``.

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
  _check(logits.shape[-1], temperature, top_k, top_p)
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
  return token.astype(jnp.int32)


def generate(
  model: DecoderLM,
  prompt: Int[Array, "B T"],
  *,
  steps: int,
  key: Key[Array, ""],
  temperature: float = 1.0,
  top_k: int | None = None,
  top_p: float | None = None,
  lengths: Int[Array, "B"] | None = None,
  stop: int | None = None,
) -> Int[Array, "B N"]:
  """Continues each prompt by sampling, reading every token once.

  The prompt and all steps are one compiled program: it is compiled once for a
  shape of prompt, `steps`, `top_k` and `stop`.

  Args:
    model: a decoder.
    prompt: int ``B T``, T >= 1, padded at the end where rows differ.
    steps: N, tokens to generate.
    key: of the draws.
    temperature: see `sample`.
    top_k: see `sample`.
    top_p: see `sample`.
    lengths: int ``B``, the real length of each prompt, >= 1; None is T.
    stop: after this token a row repeats it; None never stops.

  Returns:
    int32 ``B N``, the continuation alone.

  Raises:
    ValueError: if an option or a length is out of range, the prompt is empty,
      or the text would outgrow the model's table of learned positions.

  >>> from flax import nnx
  >>> from attnjax.models import DecoderConfig
  >>> model = DecoderLM(
  ...   DecoderConfig(width=8, depth=1, heads=2, hidden=16), 11,
  ...   rngs=nnx.Rngs(0))
  >>> prompt, key = jnp.array([[3, 1]]), jax.random.key(0)
  >>> a = generate(model, prompt, steps=4, key=key, temperature=0.0)
  >>> b = generate(model, prompt, steps=2, key=key, temperature=0.0)
  >>> a[:, :2].tolist() == b.tolist()
  True
  """
  rows, length = prompt.shape
  _check(model.vocabulary, temperature, top_k, top_p)
  if length < 1 or steps < 1:
    raise ValueError(
      f"generate: needs a prompt of at least 1 token and steps >= 1, got"
      f" {length} tokens and steps={steps}"
    )
  table = model.position_table
  limit = None if table is None else table.embedding.shape[0]
  if limit is not None and length + steps > limit:
    raise ValueError(
      f"generate: {length} + {steps} tokens outgrow the {limit} learned"
      " positions; lower steps, or train with more max_length"
    )
  if stop is not None and not 0 <= stop < model.vocabulary:
    raise ValueError(
      f"generate: stop must be a token of the vocabulary of {model.vocabulary},"
      f" got {stop}"
    )
  if lengths is None:
    lengths = jnp.full((rows,), length, jnp.int32)
  _check_lengths(lengths, rows, length)
  return _generate(
    model, prompt, lengths, key, temperature, top_p, steps, top_k, stop
  )


def _run(model, prompt, lengths, key, temperature, top_p, steps, top_k, stop):
  """The program behind `generate`: read the prompt, then scan the steps."""
  options = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
  dtype = model.embed.embedding[...].dtype
  rows, length = prompt.shape
  cache = model.init_cache((rows,), length + steps, dtype)
  logits, cache = model.decode(prompt, cache, lengths=lengths)
  last = jnp.take_along_axis(logits, lengths[:, None, None] - 1, axis=1)[:, 0]
  keys = jax.random.split(key, steps)
  token = sample(last, keys[0], **options)

  def step(carry, key):
    token, cache = carry
    logits, cache = model.decode(token[:, None], cache)
    drawn = sample(logits[:, 0], key, **options)
    drawn = drawn if stop is None else jnp.where(token == stop, stop, drawn)
    return (drawn, cache), drawn

  _, rest = jax.lax.scan(step, (token, cache), keys[1:])
  return jnp.concatenate([token[:, None], rest.T], axis=1)


_generate = jax.jit(_run, static_argnums=(6, 7, 8))


def _check(vocabulary: int, temperature, top_k, top_p) -> None:
  """Sampling options are in range, as far as they are known now."""
  known = lambda x: x is not None and not isinstance(x, jax.core.Tracer)
  if known(temperature) and temperature < 0:
    raise ValueError(f"temperature must be >= 0, got {temperature}")
  if top_k is not None and not 1 <= top_k <= vocabulary:
    raise ValueError(
      f"top_k must be within 1 and the vocabulary of {vocabulary}, got {top_k}"
    )
  if known(top_p) and not 0 < top_p <= 1:
    raise ValueError(f"top_p must be in (0, 1], got {top_p}")


def _check_lengths(lengths, rows: int, length: int) -> None:
  """Each row has a prompt of at least 1 token, and no more than it holds."""
  if lengths.shape != (rows,):
    raise ValueError(
      f"generate: lengths must have shape {[rows]}, one a prompt, got"
      f" {list(lengths.shape)}"
    )
  if isinstance(lengths, jax.core.Tracer):
    return
  if ((lengths < 1) | (lengths > length)).any():
    raise ValueError(
      f"generate: lengths must be within 1 and the prompt's {length} tokens,"
      f" got {lengths.tolist()}"
    )
