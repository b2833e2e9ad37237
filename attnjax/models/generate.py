"""Generation: sampling the next token, again and again, with a cache."""

import jax
import jax.numpy as jnp
import numpy as np

from attnjax.models.decoder import DecoderLM
from attnjax.models.memory_lm import MemoryLM
from attnjax.models.sampling import check_sampling, sample
from attnjax.ops.integers import known
from attnjax.typing import Array, Int, Key

__all__ = ["generate"]


def generate(
  model: DecoderLM | MemoryLM,
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
    model: a decoder; a `MemoryLM` takes prompts of one length.
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
  prompt = jnp.asarray(prompt)
  if prompt.ndim != 2:
    raise ValueError(
      f"generate: prompt must have the axes B T, got {list(prompt.shape)}; a"
      " single prompt is prompt[None]"
    )
  rows, length = prompt.shape
  check_sampling(model.vocabulary, temperature, top_k, top_p)
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
  stop = None if stop is None else int(stop)  # decides the program
  if rows == 0:
    return jnp.zeros((0, steps), jnp.int32)
  whole = jnp.full((rows,), length, jnp.int32)
  real = whole if lengths is None else jnp.asarray(lengths)
  _check_lengths(real, rows, length)
  _check_tokens(prompt, real, model.vocabulary)
  if model.ragged:  # with and without lengths it is one compiled program
    lengths = real
  # As an array, so that 0 and 0.0 are one compiled program.
  heat = jnp.asarray(temperature, jnp.float32)
  return _generate(model, prompt, lengths, key, heat, top_p, steps, top_k, stop)


def _run(model, prompt, lengths, key, temperature, top_p, steps, top_k, stop):
  """The program behind `generate`: read the prompt, then scan the steps."""
  options = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
  dtype = model.embed.embedding[...].dtype
  rows, length = prompt.shape
  cache = model.init_cache((rows,), length + steps, dtype)
  logits, cache = model.decode(prompt, cache, lengths=lengths)
  last = logits[:, -1]
  if lengths is not None:
    end = lengths[:, None, None] - 1
    last = jnp.take_along_axis(logits, end, axis=1)[:, 0]
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


def _check_lengths(lengths, rows: int, length: int) -> None:
  """Each row has a prompt of at least 1 token, and no more than it holds."""
  if lengths.shape != (rows,):
    raise ValueError(
      f"generate: lengths must have shape {[rows]}, one a prompt, got"
      f" {list(lengths.shape)}"
    )
  if not known(lengths):
    return
  given = np.asarray(lengths)  # even inside a trace these are known
  if ((given < 1) | (given > length)).any():
    raise ValueError(
      f"generate: lengths must be within 1 and the prompt's {length} tokens,"
      f" got {given.tolist()}"
    )


def _check_tokens(prompt, lengths, vocabulary: int) -> None:
  """The prompt holds tokens; its padding may hold anything."""
  if not (known(prompt) and known(lengths)):
    return
  real = np.arange(prompt.shape[1])[None] < np.asarray(lengths)[:, None]
  tokens = np.asarray(prompt)[real]
  bad = tokens[(tokens < 0) | (tokens >= vocabulary)]
  if bad.size:
    raise ValueError(
      f"generate: prompt holds {bad[0]}, which is no token of the vocabulary of"
      f" {vocabulary}"
    )
