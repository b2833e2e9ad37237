"""`translate`: beam search with an encoder-decoder, as one program."""

import jax
import jax.numpy as jnp

from attnjax.models.beam_search import Hypotheses, NextToken, beam_search
from attnjax.ops.recurrent import real_steps
from attnjax.typing import Array, Int, PyTree

__all__ = ["translate"]


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
    model: a `Seq2Seq` or an `EncoderDecoder`.
    source: int ``B S``; padding may hold any id.
    source_lengths: int ``B``; None is S.
    beams: as the others, see `beam_search`.
    start: the token that the decoder reads first.
    end: the token that finishes a sequence.
    max_length: tokens at most, the end token included.
    length_penalty: see `beam_search`.

  Returns:
    `Hypotheses` of tokens ``B K N``, the best first.

  Raises:
    ValueError: as `beam_search`, or lengths that are known are not within 0
      and S.

  >>> import jax.numpy as jnp
  >>> from flax import nnx
  >>> from attnjax.models import Seq2Seq, Seq2SeqConfig
  >>> model = Seq2Seq(
  ...   Seq2SeqConfig(width=6, hidden=4, depth=1), 7, 11, rngs=nnx.Rngs(0))
  >>> translate(model, jnp.ones((2, 3), jnp.int32), beams=3, start=0, end=1,
  ...           max_length=5).tokens.shape
  (2, 3, 5)
  """
  source = jnp.asarray(source)
  # Checked here, because in the jitted program the values are traced.
  if source_lengths is not None:
    source_lengths = jnp.asarray(source_lengths)
    real_steps(source_lengths, source.shape[:-1], source.shape[-1])
  return _translate(
    model, source, source_lengths, beams, start, end, max_length, length_penalty
  )


def _run(model, source, lengths, beams, start, end, max_length, penalty):
  """The jitted part of `translate`."""
  memory = model.encode(source, lengths).repeat(beams)
  return beam_search(
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


# Static: sizes are shapes, and the others are compared with Python numbers.
_translate = jax.jit(_run, static_argnums=(3, 4, 5, 6, 7))
