"""`translate`: beam search with an encoder-decoder, as one program."""

import jax
import jax.numpy as jnp
import numpy as np

from attnjax.models.beam_search import Hypotheses, NextToken, beam_search
from attnjax.ops.recurrent import real_steps
from attnjax.ops.value_checks import value_of
from attnjax.typing import Array, Int, PyTree

__all__ = ["translate"]

_METHODS = ("encode", "init_state", "step")


def translate(
  model: PyTree,
  source: Int[Array, "B S"],
  source_lengths: Int[Array, "B"] | None = None,
  *,
  beams: int = 1,
  start: int,
  end: int,
  max_length: int,
  length_penalty: float = 0.0,
) -> Hypotheses:
  """Decodes sources by beam search; compiled once for each shape and option.

  Args:
    model: a `Seq2Seq`, an `EncoderDecoder`, or one of your own with their
      methods `encode`, `init_state` and `step`; its `source_vocabulary`, where
      it has one, bounds the source.
    source: int ``B S``, in [0, V) of the source; padding may hold any id.
    source_lengths: int ``B``; None is S.
    beams: as the others, see `beam_search`.
    start: the token that the decoder reads first.
    end: the token that finishes a sequence.
    max_length: tokens at most, the end token included.
    length_penalty: see `beam_search`.

  Returns:
    `Hypotheses` of tokens ``B K N``, the best first. Of a row that is known
    to be wrong only at run time the tokens are -1, which is no token, the
    lengths 0 and the scores NaN.

  Raises:
    ValueError: as `beam_search`, the model reads no source, or lengths that
      are known are not within 0 and S, or known tokens not within the
      vocabulary of the source.

  >>> import jax.numpy as jnp
  >>> from flax import nnx
  >>> from attnjax.models import Seq2Seq, Seq2SeqConfig
  >>> model = Seq2Seq(
  ...   Seq2SeqConfig(width=6, hidden=4, depth=1), 7, 11, rngs=nnx.Rngs(0))
  >>> translate(model, jnp.ones((2, 3), jnp.int32), beams=3, start=0, end=1,
  ...           max_length=5).tokens.shape
  (2, 3, 5)
  """
  if not all(hasattr(model, name) for name in _METHODS):
    raise ValueError(
      "translate: model must be a Seq2Seq or an EncoderDecoder, which read a"
      f" source, or have their {', '.join(_METHODS)}, got"
      f" {type(model).__name__}; a DecoderLM continues a prompt: `generate`"
    )
  source = jnp.asarray(source)
  if source.ndim != 2:
    raise ValueError(
      f"translate: source must have the axes B S, got {list(source.shape)}; a"
      " single source is source[None]"
    )

  # Checked here, because in the jitted program the values are traced.
  if source_lengths is not None:
    source_lengths = jnp.asarray(source_lengths)
    real_steps(source_lengths, source.shape[:-1], source.shape[-1])
  vocabulary = getattr(model, "source_vocabulary", None)
  if vocabulary is not None:
    _check_tokens(source, source_lengths, vocabulary)
  return _translate(
    model, source, source_lengths, beams, start, end, max_length, length_penalty
  )


def _run(model, source, lengths, beams, start, end, max_length, penalty):
  """The jitted part of `translate`."""
  memory = model.encode(source, lengths).repeat(beams)
  found = beam_search(
    NextToken(model, memory),
    model.init_state(memory, max_length),
    batch=source.shape[0],
    beams=beams,
    start=start,
    end=end,
    max_length=max_length,
    length_penalty=penalty,
    axis=1,
  )
  # What is wrong by its values embeds to NaN, and so are scores of its row.
  wrong = jnp.isnan(found.scores).any(axis=-1, keepdims=True)
  return Hypotheses(
    jnp.where(wrong[..., None], -1, found.tokens),
    jnp.where(wrong, 0, found.lengths),
    jnp.where(wrong, jnp.nan, found.scores),
  )


# Static: sizes are shapes, and the others are compared with Python numbers.
_translate = jax.jit(_run, static_argnums=(3, 4, 5, 6, 7))


def _check_tokens(source, lengths, vocabulary: int) -> None:
  """Raises ValueError for known ids out of [0, V), except in padding."""
  tokens = value_of(source)
  known = None if lengths is None else value_of(lengths)
  if tokens is None or (known is None and lengths is not None):
    return  # then such an id embeds to NaN, and its row has no answer
  outside = (tokens < 0) | (tokens >= vocabulary)
  if known is not None:
    outside &= np.arange(tokens.shape[1])[None] < known[:, None]
  if outside.any():
    raise ValueError(
      f"translate: source holds {tokens[outside][0]}, which is no token of the"
      f" vocabulary of {vocabulary}"
    )
