"""`generate`: autoregressive sampling with a key-value cache."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from attnjax.models.decoder import DecoderLM
from attnjax.models.memory_lm import MemoryLM
from attnjax.models.sampling import checked_options, sample
from attnjax.models.speculative import Drafted, Text, write
from attnjax.ops.integers import checked_lengths
from attnjax.ops.value_checks import poison, refuse, value_of
from attnjax.typing import Array, Bool, Int, Key

__all__ = ["generate"]


def generate(
  model: DecoderLM | MemoryLM,
  prompt: Int[Array, "B T"],
  *,
  steps: int,
  key: Key[Array, ""],
  temperature: Any = 1.0,
  top_k: Any = None,
  top_p: Any = None,
  lengths: Int[Array | np.ndarray, "B"] | None = None,
  prompt_mask: Bool[Array | np.ndarray, "B T"]
  | Int[Array | np.ndarray, "B T"]
  | None = None,
  stop: int | Sequence[int] | Int[Array | np.ndarray, "..."] | None = None,
  draft: DecoderLM | MemoryLM | None = None,
  ahead: int = 4,
) -> Int[Array, "B N"] | Drafted:
  """Continues prompts by sampling token after token.

  The prompt and all steps are one compiled program: it is compiled once for a
  shape of prompt and options, `steps` and `stop`. It ends as soon as all rows
  have stopped. Layers with a window keep no more tokens than it shows.

  Args:
    model: a decoder; a `MemoryLM` takes prompts of one length.
    prompt: int ``B T``, T >= 1. Rows may differ in length: give `lengths` or
      `prompt_mask`, or padding is read as tokens.
    steps: N, tokens to generate.
    key: of the draws.
    temperature: one number, or one a row; see `sample`.
    top_k: one number, or one a row; see `sample`.
    top_p: one number, or one a row; see `sample`.
    lengths: int ``B``, >= 1, the real length of each prompt that is padded at
      its end; None is T.
    prompt_mask: bool (or 0 and 1) ``B T``, which tokens are real, wherever the
      padding stands: at the start as at the end. Each row is read as if its
      real tokens stood alone, from position 0 on.
    stop: a token, or several; after one of them a row repeats it. None never
      stops.
    draft: a smaller decoder of the same vocabulary, which proposes tokens that
      the model verifies several at once. Tokens are distributed as without it,
      and greedy ones are the same, as far as rounding does not decide.
    ahead: K, tokens that the draft proposes at a time, >= 1.

  Returns:
    int32 ``B N``, the continuation alone; -1, which is no token, where it is
    known only at run time that a row has no answer: see `sample`. With a draft
    a `Drafted` of these tokens, and how many were proposed and accepted.

  Raises:
    ValueError: if the model is another one, an option or a length is out of
      range, the prompt is empty, the text would outgrow the model's table of
      learned positions, or the draft has another vocabulary.
    NotImplementedError: with a draft, if one of the two is a `MemoryLM`: a
      memory cannot take back what it has read.

  >>> import jax
  >>> import jax.numpy as jnp
  >>> from attnjax.models.decoder import DecoderLM
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
  >>> c = generate(
  ...   model, prompt, steps=4, key=key, temperature=0.0, draft=model, ahead=2)
  >>> c.tokens.tolist() == a.tolist(), c.offered.tolist(), c.accepted.tolist()
  (True, [2], [2])

  Reference:
    Leviathan, Kalman, Matias, "Fast Inference from Transformers via Speculative
    Decoding", 2022, arXiv 2211.17192; Chen et al., "Accelerating Large Language
    Model Decoding with Speculative Sampling", 2023, arXiv 2302.01318.
  """
  _check_models(model, draft)
  prompt = jnp.asarray(prompt)
  if prompt.ndim != 2:
    raise ValueError(
      f"generate: prompt must have the axes B T, got {list(prompt.shape)}; a"
      " single prompt is prompt[None]"
    )

  rows, length = prompt.shape
  *options, wrong = checked_options(
    model.vocabulary, (rows,), temperature, top_k, top_p
  )
  if length < 1 or steps < 1:
    raise ValueError(
      f"generate: needs a prompt of at least 1 token and steps >= 1, got"
      f" {length} tokens and steps={steps}"
    )
  stops = _stops(stop, model.vocabulary)

  # A mask is converted to left-aligned prompts and their lengths.
  if prompt_mask is not None:
    if lengths is not None:
      raise ValueError(
        "generate: lengths and prompt_mask both say what is padding, got both;"
        " give one"
      )
    prompt, lengths, unclear = _without_padding(prompt, prompt_mask)
    wrong = _either(wrong, unclear)

  padded = lengths is not None
  lengths = lengths if padded else np.full(rows, length, np.int32)
  real, unfit = checked_lengths(
    "generate: lengths",
    lengths,
    (rows,),
    length,
    f"the prompt's {length} tokens",
    least=1,
  )
  _check_room(model, real, length, steps)
  if draft is not None:
    _check_draft(model, draft, ahead)
    _check_room(draft, real, length, steps)
    # No more than are asked for after the first, for which there is room.
    ahead = max(1, min(ahead, steps - 1))
  if rows == 0:
    none = jnp.zeros(0, jnp.int32)
    tokens = jnp.zeros((0, steps), jnp.int32)
    return tokens if draft is None else Drafted(tokens, none, none)
  _check_tokens(prompt, real, model.vocabulary)

  row_lengths: Array | np.ndarray | None = real
  if not model.ragged:
    prompt = _of_one_length(prompt, real) if padded else prompt
    row_lengths = None

  # Lengths are passed even if not given: one program serves both calls.
  return _generate(
    model,
    draft,
    prompt,
    row_lengths,
    key,
    options,
    _either(wrong, unfit),
    steps,
    stops,
    0 if draft is None else ahead,
  )


def _run(
  model, draft, prompt, lengths, key, options, wrong, steps, stops, ahead
):
  """The jitted part of `generate`: reads the prompt, then writes."""
  options = dict(zip(("temperature", "top_k", "top_p"), options, strict=True))
  ends = jnp.array(stops, jnp.int32)[None]
  keys = jax.random.split(key, steps)

  logits, cache = _read(model, prompt, lengths, steps, ahead)
  # The token of a poisoned row is -1, which embeds to NaN: all later ones are.
  token = sample(poison(logits, wrong), keys[0], **options)
  stopped = (token[:, None] == ends).any(-1)
  tokens = jnp.broadcast_to(token[:, None], (len(token), steps))

  if draft is not None:
    _, draft_cache = _read(draft, prompt, lengths, steps, ahead)
    one, none = jnp.ones_like(token), jnp.zeros_like(token)
    caches = (cache, draft_cache)
    text = Text(tokens, one, token, stopped, *caches, keys[-1], none, none)
    return write(model, draft, text, ends, options, ahead)

  def step(carry):
    place, tokens, token, stopped, cache = carry
    logits, cache = model.read(token[:, None], cache)
    drawn = sample(logits, keys[place], **options)
    # To the end of the row, which is all there is to say of one that stops.
    rest = jnp.arange(steps)[None] >= place
    drawn = jnp.where(stopped, token, drawn)
    tokens = jnp.where(rest, drawn[:, None], tokens)
    stopped |= (drawn[:, None] == ends).any(-1)
    return place + 1, tokens, drawn, stopped, cache

  goes_on = lambda carry: (carry[0] < steps) & ~carry[3].all()
  start = (jnp.int32(1), tokens, token, stopped, cache)
  return jax.lax.while_loop(goes_on, step, start)[1]


# `steps` and `ahead` are lengths of arrays, and `stops` the shape of one.
_generate = jax.jit(_run, static_argnums=(7, 8, 9))


def _read(model, prompt, lengths, steps: int, ahead: int):
  """(logits after the prompt, cache of a model that has read it)."""
  rows, length = prompt.shape
  kw: dict[str, Any] = {}
  if isinstance(model, DecoderLM):
    window = model.config.window
    # A cache that would never roll is a plain one.
    if window is not None and window + 1 + ahead < length + steps:
      kw = {"rolling": ahead}
  dtype = model.embed.embedding[...].dtype
  cache = model.init_cache((rows,), length + steps, dtype, **kw)
  return model.read(prompt, cache, lengths=lengths)


def _check_models(model, draft) -> None:
  """Raises ValueError unless a model, and a draft, continue a prompt."""
  for name, one in (("model", model), ("draft", draft)):
    if one is None and name == "draft":
      continue
    if not isinstance(one, (DecoderLM, MemoryLM)):
      raise ValueError(
        f"generate: {name} must be a DecoderLM or a MemoryLM, which continue a"
        f" prompt, got {type(one).__name__}; an EncoderDecoder or a Seq2Seq"
        " decodes a source: `translate`"
      )


def _check_draft(model, draft, ahead: int) -> None:
  """Raises unless a model can verify what another proposes."""
  if not all(isinstance(one, DecoderLM) for one in (model, draft)):
    raise NotImplementedError(
      "generate: draft must be a DecoderLM, and the model too, for a memory"
      " cannot take back tokens that it has read, got"
      f" {type(draft).__name__} and {type(model).__name__}; leave draft out"
    )
  if draft.vocabulary != model.vocabulary:
    raise ValueError(
      "generate: draft must have the vocabulary of the model, of"
      f" {model.vocabulary} tokens, got {draft.vocabulary}"
    )
  if ahead < 1:
    raise ValueError(f"generate: ahead must be >= 1, got {ahead}")


def _stops(stop, vocabulary: int) -> tuple[int, ...]:
  """Stop tokens as a static argument: sorted, without duplicates."""
  if stop is None:
    return ()
  tokens = value_of(stop)
  # An empty list becomes float64 in numpy.
  is_integer = tokens is not None and (
    tokens.size == 0 or np.issubdtype(tokens.dtype, np.integer)
  )
  if tokens is None or tokens.ndim > 1 or not is_integer:
    raise ValueError(
      "generate: stop must be a token or a list of tokens, known while tracing,"
      f" got {stop}"
    )

  outside = tokens[(tokens < 0) | (tokens >= vocabulary)]
  if outside.size:
    raise ValueError(
      f"generate: stop must be a token of the vocabulary of {vocabulary}, got"
      f" {outside.flat[0]}"
    )
  return tuple(sorted(set(tokens.ravel().tolist())))


def _without_padding(prompt, mask):
  """(left-aligned prompts, their lengths, rows with a wrong mask or None)."""
  mask = mask if isinstance(mask, jax.Array) else np.asarray(mask)
  truth = mask.dtype == bool
  if mask.shape != prompt.shape or not (
    truth or jnp.issubdtype(mask.dtype, jnp.integer)
  ):
    raise ValueError(
      f"generate: prompt_mask must be booleans of shape {list(prompt.shape)},"
      f" one a token, got {mask.dtype}{list(mask.shape)}"
    )

  # Integers, as other libraries give them, must be 0 or 1.
  unclear = None
  if not truth:
    unclear = refuse(
      lambda mask: ((mask != 0) & (mask != 1)).any(-1),
      lambda mask: ValueError(
        "generate: prompt_mask must be 1 where a token is real and 0 where it"
        f" is padding, got {mask[(mask != 0) & (mask != 1)].flat[0]}"
      ),
      mask,
    )

  # numpy where it is known, so that wrong lengths raise.
  value = value_of(mask)
  real = (mask if value is None else value).astype(bool)
  return _left_aligned(prompt, real), real.sum(-1, dtype=np.int32), unclear


@jax.jit
def _left_aligned(prompt, real):
  """Moves the real tokens of each row to its front, in their order."""
  # False sorts before True, and a stable sort keeps the order within both.
  order = jnp.argsort(~real, axis=-1, stable=True)
  return jnp.take_along_axis(prompt, order, axis=-1)


def _check_room(model, lengths, length: int, steps: int) -> None:
  """Raises ValueError if a text outgrows the table of learned positions."""
  if model.position_table is None:
    return
  known = value_of(lengths)
  most = length if known is None else int(known.max(initial=0))
  limit = model.config.max_length
  if most + steps > limit:
    raise ValueError(
      f"generate: {most} + {steps} tokens outgrow the {limit} learned"
      " positions; lower steps, or train with more max_length"
    )


def _check_tokens(prompt, lengths, vocabulary: int) -> None:
  """Raises ValueError for known ids out of [0, V), except in padding."""
  tokens, lengths = value_of(prompt), value_of(lengths)
  if tokens is None or lengths is None:
    return  # then such an id embeds to NaN, and gives -1
  tokens = tokens[np.arange(tokens.shape[1])[None] < lengths[:, None]]
  bad = tokens[(tokens < 0) | (tokens >= vocabulary)]
  if bad.size:
    raise ValueError(
      f"generate: prompt holds {bad[0]}, which is no token of the vocabulary of"
      f" {vocabulary}"
    )


def _of_one_length(prompt, lengths):
  """Removes padding for models that need rows of equal length."""
  value = value_of(lengths)
  if value is None or (value != value[0]).any():
    raise ValueError(
      "generate: every row must be as long as the others, got lengths"
      f" {value if value is None else value.tolist()}: a memory cannot leave"
      " padding out; generate for rows of one length together"
    )
  return prompt[:, : value[0]]


def _either(a, b):
  """Elementwise a | b, where None means False everywhere."""
  if a is None or b is None:
    return b if a is None else a
  return a | b
