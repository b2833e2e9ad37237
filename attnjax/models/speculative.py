"""Speculative decoding: a draft model proposes tokens, the model verifies them.

The draft writes K tokens one after another, and the model reads all of them at
once, which takes it hardly longer than one. Each is kept with the probability
min(1, p / q), p of the model and q of the draft, and the first that is not is
drawn anew from what p has more than q: tokens are distributed as if the model
had drawn each by itself.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from attnjax.models.layer_caches import rewind_layers
from attnjax.models.sampling import draw_probabilities
from attnjax.typing import Array, Bool, Float, Int, Key

__all__ = ["Drafted", "acceptance", "residual", "verify"]


class Drafted(NamedTuple):
  """A text written with the help of a draft model.

  Args:
    tokens: int32 ``B N``.
    offered: int32 ``B``, tokens that the draft proposed.
    accepted: int32 ``B``, how many of them the text has.

  >>> import jax.numpy as jnp
  >>> Drafted(jnp.ones((2, 5)), jnp.ones(2), jnp.zeros(2)).tokens.shape
  (2, 5)
  """

  tokens: Int[Array, "B N"]
  offered: Int[Array, "B"]
  accepted: Int[Array, "B"]


def acceptance(
  model: Float[Array, "*B V"], draft: Float[Array, "*B V"]
) -> Float[Array, "*B V"]:
  """Probability to keep each token that a draft may propose.

      a = min(1, p / q)

  Args:
    model: p, probabilities ``*B V`` of the next token.
    draft: q, those that the proposal was drawn by.

  Returns:
    ``*B V``; 1 where q is 0, for such a token is not proposed.

  >>> import jax.numpy as jnp
  >>> p, q = jnp.array([0.75, 0.25]), jnp.array([0.25, 0.75])
  >>> kept = q * acceptance(p, q)
  >>> (kept + (1 - kept.sum()) * residual(p, q)).tolist()  # p, whatever q is
  [0.75, 0.25]

  Reference:
    Leviathan, Kalman, Matias, "Fast Inference from Transformers via Speculative
    Decoding", 2022, arXiv 2211.17192, section 2.3; Chen et al., "Accelerating
    Large Language Model Decoding with Speculative Sampling", 2023, arXiv
    2302.01318, algorithm 2.
  """
  # NaN of either stays NaN, of which no coin is below.
  surely = draft <= model
  return jnp.where(surely, 1.0, model / jnp.where(surely, 1.0, draft))


def residual(
  model: Float[Array, "*B V"], draft: Float[Array, "*B V"]
) -> Float[Array, "*B V"]:
  """Probabilities of the token in place of one that was not kept.

      r = max(p - q, 0) / sum(max(p - q, 0))

  Args:
    model: p, as of `acceptance`.
    draft: q, as of `acceptance`.

  Returns:
    ``*B V``; p itself where it has no more than q anywhere, and where q is NaN,
    of which nothing is kept.

  >>> import jax.numpy as jnp
  >>> p = jnp.array([0.5, 0.25, 0.25])
  >>> residual(p, jnp.array([1.0, 0.0, 0.0])).tolist()
  [0.0, 0.5, 0.5]
  """
  more = jnp.maximum(model - draft, 0)
  total = more.sum(-1, keepdims=True)
  return jnp.where(total > 0, more / jnp.where(total > 0, total, 1), model)


def verify(
  model: Float[Array, "*B N V"],
  draft: Float[Array, "*B K V"],
  tokens: Int[Array, "*B K"],
  key: Key[Array, ""],
  *,
  offered: Int[Array, "*B"] | None = None,
) -> tuple[Int[Array, "*B"], Int[Array, "*B"]]:
  """How many proposed tokens are kept, and the token that comes after them.

  Args:
    model: p, probabilities ``*B N V``, N = K + 1, after the text and after each
      of the proposed tokens.
    draft: q, those that the tokens were drawn by.
    tokens: int ``*B K``, proposed.
    key: of the draws.
    offered: int ``*B``, how many of the K count; None is all.

  Returns:
    int32 ``*B`` from 0 to `offered`, and the next token int32 ``*B``: drawn
    from `residual` after one that was not kept, else from p; -1 where p is NaN.

  >>> import jax
  >>> import jax.numpy as jnp
  >>> p, q = jnp.eye(3), jnp.eye(3)[:2]  # both are certain, and agree
  >>> kept, token = verify(p, q, jnp.array([0, 1]), jax.random.key(0))
  >>> int(kept), int(token)
  (2, 2)
  """
  count = tokens.shape[-1]
  offered = jnp.full(tokens.shape[:-1], count) if offered is None else offered
  coins, draw = jax.random.split(key)

  # u < a is never true of a token with p = 0, and always of one with p >= q.
  share = acceptance(model[..., :count, :], draft)
  share = jnp.take_along_axis(share, tokens[..., None], axis=-1)[..., 0]
  kept = jax.random.uniform(coins, share.shape, share.dtype) < share
  kept &= _counted(count, kept) < offered[..., None]
  accepted = jnp.cumprod(kept.astype(jnp.int32), axis=-1).sum(-1)

  place = accepted[..., None, None]
  p = jnp.take_along_axis(model, place, axis=-2)[..., 0, :]
  q = jnp.take_along_axis(draft, jnp.minimum(place, count - 1), axis=-2)
  # After all that were offered nothing was refused.
  rest = jnp.where(
    (accepted == offered)[..., None], p, residual(p, q[..., 0, :])
  )
  token = jax.random.categorical(draw, jnp.log(rest), axis=-1)
  token = jnp.where(jnp.isnan(p).any(-1), -1, token)
  return accepted, token.astype(jnp.int32)


class Text(NamedTuple):
  """Loop state: what each row has written, and the caches of both models.

  Args:
    tokens: int32 ``B N``.
    size: int32 ``B``, tokens written.
    last: int32 ``B``, the newest, which no cache has yet.
    stopped: bool ``B``.
    cache: of the model.
    draft_cache: of the draft.
    key: of the draws to come.
    offered: as in `Drafted`.
    accepted: as in `Drafted`.
  """

  tokens: Int[Array, "B N"]
  size: Int[Array, "B"]
  last: Int[Array, "B"]
  stopped: Bool[Array, "B"]
  cache: Any
  draft_cache: Any
  key: Key[Array, ""]
  offered: Int[Array, "B"]
  accepted: Int[Array, "B"]


def write(model, draft, text: Text, stops, options, ahead: int) -> Drafted:
  """Writes the N tokens of every row, `ahead` drafted ones at a time.

  Args:
    model: a `DecoderLM`.
    draft: another, of the same vocabulary.
    text: after the prompt and one token.
    stops: tokens after which a row ends, int ``1 S``.
    options: of `sample`, by name.
    ahead: K, tokens that are drafted in a round.

  >>> import jax
  >>> import jax.numpy as jnp
  >>> from attnjax.models import DecoderConfig, DecoderLM, generate
  >>> from flax import nnx
  >>> config = DecoderConfig(width=8, depth=1, heads=2, hidden=16)
  >>> model = DecoderLM(config, 11, rngs=nnx.Rngs(0))
  >>> prompt, key = jnp.array([[3, 1]]), jax.random.key(0)
  >>> text = generate(  # a model agrees with itself
  ...   model, prompt, steps=5, key=key, draft=model, temperature=0.0)
  >>> text.offered.tolist() == text.accepted.tolist()
  True
  """
  steps = text.tokens.shape[1]
  unfinished = lambda text: ~text.stopped & (text.size < steps)

  def advance(text: Text) -> Text:
    key, coins, *draws = jax.random.split(text.key, ahead + 3)
    left = jnp.where(unfinished(text), steps - text.size, 0)
    # Of the tokens of a round those that a row has no room for take no slot.
    fed = jnp.minimum(left, ahead + 1)

    q, tokens, draft_cache = _propose(draft, text, fed, draws, options)
    read = jnp.concatenate([text.last[:, None], tokens], axis=1)
    logits, cache = model.decode(read, text.cache, lengths=fed)
    p = draw_probabilities(logits, **_for_each(options, ahead + 1))
    accepted, token = verify(
      p, q, tokens, coins, offered=jnp.maximum(fed - 1, 0)
    )

    kept = text.cache.length[0] + jnp.where(left > 0, accepted + 1, 0)
    text = text._replace(
      cache=rewind_layers(cache, kept),
      draft_cache=rewind_layers(draft_cache, kept),
      offered=text.offered + jnp.maximum(fed - 1, 0),
      key=key,
    )
    return _written(text, tokens, accepted, token, left > 0, stops)

  text = jax.lax.while_loop(lambda x: unfinished(x).any(), advance, text)
  # A row that stopped repeats the token that it stopped at.
  rest = _counted(steps, text.tokens) >= text.size[:, None]
  tokens = jnp.where(rest, text.last[:, None], text.tokens)
  return Drafted(tokens, text.offered, text.accepted)


def _propose(draft, text: Text, fed, keys, options):
  """(q ``B K V``, drafted tokens ``B K``, cache of the draft with them all)."""

  # The last turn proposes nothing, but reads what the one before proposed.
  def turn(carry, place_and_key):
    token, cache = carry
    place, key = place_and_key
    real = (place < fed).astype(jnp.int32)
    logits, cache = draft.read(token[:, None], cache, lengths=real)
    q = draw_probabilities(logits, **options)
    drawn = jax.random.categorical(key, jnp.log(q), axis=-1).astype(jnp.int32)
    return (drawn, cache), (q, drawn)

  turns = (jnp.arange(len(keys)), jnp.stack(keys))
  carry, found = jax.lax.scan(turn, (text.last, text.draft_cache), turns)
  q, tokens = (jnp.moveaxis(x[:-1], 0, 1) for x in found)
  return q, tokens, carry[1]


def _written(text: Text, tokens, accepted, token, goes_on, stops) -> Text:
  """The text with the tokens that were kept, and the one after them."""
  place = _counted(tokens.shape[1] + 1, tokens)
  tokens = jnp.pad(tokens, [(0, 0), (0, 1)])
  tokens = jnp.where(place < accepted[:, None], tokens, token[:, None])

  ends = (tokens[..., None] == stops[None]).any(-1) & (
    place <= accepted[:, None]
  )
  ends &= goes_on[:, None]
  new = jnp.where(ends.any(-1), ends.argmax(-1), accepted) + 1
  new = jnp.where(goes_on, new, 0).astype(jnp.int32)

  # What is not new goes past the end, where it is dropped.
  slot = text.size[:, None] + place
  slot = jnp.where(place < new[:, None], slot, text.tokens.shape[1])
  put = jax.vmap(lambda row, slot, new: row.at[slot].set(new, mode="drop"))
  last = jnp.take_along_axis(tokens, jnp.maximum(new - 1, 0)[:, None], axis=1)
  return text._replace(
    tokens=put(text.tokens, slot, tokens),
    size=text.size + new,
    last=jnp.where(goes_on, last[:, 0], text.last),
    stopped=text.stopped | ends.any(-1),
    accepted=text.accepted + jnp.minimum(accepted, new),
  )


def _for_each(options, count: int):
  """Options of a row for each of several tokens of it."""
  spread = lambda x: jnp.broadcast_to(x[:, None], (len(x), count))
  return {
    name: x if x is None or x.ndim == 0 else spread(x)
    for name, x in options.items()
  }


def _counted(count: int, like):
  """0, 1, 2... along the last axis, with axes of size 1 before it."""
  return jnp.arange(count, dtype=jnp.int32).reshape(
    (1,) * (like.ndim - 1) + (-1,)
  )
