"""`sample`: draws a token from logits, by temperature, top-k and top-p."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from attnjax.moved import forward_names
from attnjax.ops.value_checks import poison, refuse
from attnjax.typing import Array, Float, Int, Key

__all__ = ["Options", "checked_options", "draw_probabilities", "sample"]


def sample(
  logits: Float[Array, "*B V"],
  key: Key[Array, ""],
  *,
  temperature: Any = 1.0,
  top_k: Any = None,
  top_p: Any = None,
) -> Int[Array, "*B"]:
  """Draws a token from softmax(logits / temperature), cut by top-k and top-p.

  Each option is one number, or an array ``*B`` of one a row.

  Args:
    logits: ``*B V``; drawn in float32 or wider, for in bfloat16 the noise that
      chooses has ties. What is -inf is never drawn.
    key: of the draw.
    temperature: finite, >= 0; 0 takes the likeliest token (greedy).
    top_k: int, keep the k likeliest tokens; None, and V, keep all.
    top_p: keep the likeliest tokens, just enough that their probability (after
      top_k) reaches p, in (0, 1]; None, and 1, keep all. The likeliest always
      stays.

  Returns:
    int32 ``*B``; -1, which is no token, where a logit is NaN. Where it is known
    only at run time that all logits of a row are -inf, or that an option is out
    of range, it is -1 too.

  Raises:
    ValueError: if top_k, top_p or temperature is out of range or has another
      shape, or all logits of a row are -inf, as far as that is known.

  >>> import jax
  >>> import jax.numpy as jnp
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
  scaled, greedy, wrong = _scaled(logits, temperature, top_k, top_p)
  drawn = jax.random.categorical(key, scaled, axis=-1)
  token = jnp.where(greedy, scaled.argmax(-1), drawn)
  # Rows that cannot be drawn from give -1, which embeds to NaN.
  return jnp.where(wrong, -1, token).astype(jnp.int32)


def draw_probabilities(
  logits: Float[Array, "*B V"],
  *,
  temperature: Any = 1.0,
  top_k: Any = None,
  top_p: Any = None,
) -> Float[Array, "*B V"]:
  """Probability of every token to be drawn by `sample` with these options.

  Args:
    logits: as of `sample`.
    temperature: as of `sample`; at 0 one token has all the probability.
    top_k: as of `sample`.
    top_p: as of `sample`.

  Returns:
    float32 or wider ``*B V``, whose rows sum to 1; NaN where `sample` gives -1.

  Raises:
    ValueError: as `sample`.

  >>> import jax.numpy as jnp
  >>> logits = jnp.log(jnp.array([0.6, 0.3, 0.1]))
  >>> draw_probabilities(logits, temperature=0.0).tolist()
  [1.0, 0.0, 0.0]
  >>> draw_probabilities(logits, top_k=2).round(3).tolist()  # of 0.9
  [0.667..., 0.333..., 0.0]
  """
  scaled, greedy, wrong = _scaled(logits, temperature, top_k, top_p)
  likely = jax.nn.softmax(scaled, axis=-1)
  one = jax.nn.one_hot(scaled.argmax(-1), scaled.shape[-1], dtype=likely.dtype)
  return poison(jnp.where(greedy[..., None], one, likely), wrong)


def _scaled(logits, temperature, top_k, top_p):
  """(logits to draw by, rows that are greedy, rows that have no answer)."""
  batch, vocabulary = logits.shape[:-1], logits.shape[-1]
  options = checked_options(vocabulary, batch, temperature, top_k, top_p)
  nothing = refuse(_empty, _nothing_to_draw, logits)

  if jnp.finfo(logits.dtype).bits < 32:
    logits = logits.astype(jnp.float32)

  # At temperature 0 the draw is discarded, but must not divide 0 by 0.
  greedy = jnp.broadcast_to(options.temperature == 0, batch)
  temperature = jnp.where(options.temperature == 0, 1, options.temperature)
  scaled = logits / _column(temperature.astype(logits.dtype), batch)
  # To sort a vocabulary takes longer than many a model.
  if options.top_k is not None or options.top_p is not None:
    order = jnp.argsort(-scaled, axis=-1, stable=True)
    best_first = jnp.take_along_axis(scaled, order, axis=-1)
    kept = _cut(best_first, options, batch)
    scaled = jnp.take_along_axis(kept, jnp.argsort(order, axis=-1), axis=-1)

  wrong = jnp.isnan(logits).any(axis=-1)
  for more in (nothing, options.wrong):
    wrong = wrong if more is None else wrong | more
  return scaled, greedy, wrong


class Options(NamedTuple):
  """Options of `sample` as arrays, each one number or one a row of ``*B``.

  Args:
    temperature: float32.
    top_k: int32, or None.
    top_p: float32, or None.
    wrong: which rows have one that is out of range; None where it is known
      that none has.
  """

  temperature: Array
  top_k: Array | None
  top_p: Array | None
  wrong: Array | None


def checked_options(
  vocabulary: int, batch: tuple[int, ...], temperature, top_k, top_p
) -> Options:
  """Checks the options of `sample`; returns them as arrays.

  >>> checked_options(9, (2,), [0.5, 1.0], None, 0.9).top_p.item() < 1
  True
  """
  rules = {
    "temperature": (
      temperature,
      "finite and >= 0",
      lambda x: (x >= 0) & (x < math.inf),
    ),
    "top_k": (
      top_k,
      f"within 1 and the vocabulary of {vocabulary}",
      lambda x: (x >= 1) & (x <= vocabulary),
    ),
    "top_p": (top_p, "in (0, 1]", lambda x: (x > 0) & (x <= 1)),
  }

  found, wrongs = {}, []
  for name, (given, words, fits) in rules.items():
    found[name], wrong = _option(name, given, batch, words, fits)
    wrongs += [] if wrong is None else [wrong]

  wrong = wrongs[0] if wrongs else None
  for more in wrongs[1:]:
    wrong = wrong | more
  return Options(**found, wrong=wrong)


def _option(name: str, given, batch: tuple[int, ...], words: str, fits):
  """(an option as an array, rows out of range or None)."""
  if given is None:
    return None, None
  # numpy stays numpy, so that an option out of range raises under `jit` too.
  x = given if isinstance(given, jax.Array) else np.asarray(given)
  kind, dtype = (
    (jnp.integer, np.int32) if name == "top_k" else (jnp.number, np.float32)
  )
  if not jnp.issubdtype(x.dtype, kind) or x.shape not in ((), batch):
    raise ValueError(
      f"{name} must be {words}: one number, or {list(batch)} numbers, one a"
      f" row, got {given!r}"
    )

  wrong = refuse(
    lambda x: ~fits(x),
    lambda x: ValueError(f"{name} must be {words}, got {x[~fits(x)].flat[0]}"),
    x,
  )
  return jnp.asarray(x.astype(dtype)), wrong


def _cut(scaled, options: Options, batch: tuple[int, ...]):
  """Sorted logits, best first, with -inf beyond top-k and top-p."""
  count = scaled.shape[-1]
  rank = jnp.arange(count).reshape((1,) * len(batch) + (-1,))
  if options.top_k is not None:
    scaled = jnp.where(rank < _column(options.top_k, batch), scaled, -jnp.inf)
  if options.top_p is not None:
    most = _column(options.top_p, batch)
    probability = jax.nn.softmax(scaled, axis=-1)
    # The probability of the better ones: a token is kept while they do not
    # reach p, so that the one that crosses it is kept too.
    before = jnp.cumsum(probability, axis=-1) - probability
    # A rounded sum may be 1 before the last token: top_p = 1 keeps all.
    kept = (before < most) | (rank == 0) | (most >= 1)
    scaled = jnp.where(kept, scaled, -jnp.inf)
  return scaled


def _column(x, batch: tuple[int, ...]):
  """One number, or one a row, with an axis to broadcast over V."""
  return x.reshape((1,) * len(batch) + (1,)) if x.ndim == 0 else x[..., None]


def _empty(logits):
  """Rows of which all logits are -inf."""
  return (logits == -math.inf).all(-1)


def _nothing_to_draw(logits):
  """ValueError for the first row whose logits are all -inf."""
  where = np.argwhere(_empty(logits)).tolist()[0]
  return ValueError(
    "sample: logits must have a token to draw in every row, got -inf for all of"
    f" them{f' in row {where}' if where else ''}; a mask hides every token"
  )


# Names of earlier versions, with a `DeprecationWarning`.
__getattr__ = forward_names(__name__)
