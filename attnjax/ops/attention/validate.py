"""Checks of the arguments of `attend`; each raises ValueError with a remedy."""

import jax
import jax.numpy as jnp

from attnjax.ops.integers import labels
from attnjax.ops.masks import Mask
from attnjax.ops.normalizers import Normalizer
from attnjax.ops.score_mods import ScoreMod
from attnjax.ops.scoring import Scoring

__all__ = [
  "AUX",
  "arrays",
  "aux_names",
  "bias_of",
  "broadcasts",
  "dropout",
  "logits_dtype",
  "parts",
  "rows",
  "rules",
  "segments",
]

# What can be asked for beside the output.
AUX = ("logsumexp", "weights", "entropy", "max_logit")

_AXES = {"query": "*B T H D", "key": "*B S K D", "value": "*B S K E"}


def arrays(query, key, value) -> None:
  """Query, key and value agree with each other, axis by axis."""
  named = {"query": query, "key": key, "value": value}
  for name, x in named.items():
    if jnp.ndim(x) < 3:
      raise ValueError(
        f"attend: {name} must have axes '{_AXES[name]}' (at least 3), got"
        f" shape {list(jnp.shape(x))}; add a head axis of size 1 with"
        f" {name}[..., None, :]"
      )
    if not jnp.issubdtype(x.dtype, jnp.floating):
      raise ValueError(
        f"attend: {name} must be floating point, got {x.dtype}; cast it, or"
        " embed it if it holds token ids"
      )

  _same("batch axes", {n: x.shape[:-3] for n, x in named.items()}, named)
  _same("width D", {n: named[n].shape[-1] for n in ("query", "key")}, named)
  _same("heads K", {n: named[n].shape[-2] for n in ("key", "value")}, named)
  _same("length S", {n: named[n].shape[-3] for n in ("key", "value")}, named)

  heads, shared = query.shape[-2], key.shape[-2]
  if shared == 0 or heads % shared:
    raise ValueError(
      f"attend: query heads H={heads} must be a multiple of key heads"
      f" K={shared}; {_shapes(named)}"
    )


def _same(what: str, seen: dict, named: dict) -> None:
  """One axis has one size in all arrays that share it."""
  if len(set(seen.values())) > 1:
    sizes = ", ".join(f"{n} has {v}" for n, v in seen.items())
    raise ValueError(
      f"attend: {what} must be equal, but {sizes}; {_shapes(named)}"
    )


def _shapes(named: dict) -> str:
  """Expected axes beside the shapes that came."""
  return "; ".join(
    f"{n} is '{_AXES[n]}', got {list(x.shape)}" for n, x in named.items()
  )


def broadcasts(name: str, x, shape: tuple[int, ...]):
  """Gives an array the rank of the logits; it must broadcast to them."""
  x = jnp.asarray(x)
  try:
    if jnp.broadcast_shapes(x.shape, shape) != shape:
      raise ValueError
  except ValueError:
    raise ValueError(
      f"attend: {name} must broadcast to '*B H T S' = {list(shape)}, got"
      f" shape {list(x.shape)}; put the batch axes first and give absent axes"
      f" size 1{_of_tokens(name, x.shape, shape)}"
    ) from None
  return x.reshape((1,) * (len(shape) - x.ndim) + x.shape)


def _of_tokens(name: str, got: tuple[int, ...], shape: tuple[int, ...]) -> str:
  """What to do with one entry a key, as tokenizers mark their padding."""
  if got != (*shape[:-3], shape[-1]):
    return ""
  return f"; of one entry a key make {name}[..., None, None, :]"


def rows(name: str, x, batch: tuple[int, ...], length: int):
  """Checks the shape of positions or segment ids: int ``*#B T``."""
  x = jnp.asarray(x)
  fits = x.ndim >= 1 and x.shape[-1] == length and x.ndim <= len(batch) + 1
  leading = zip(reversed(x.shape[:-1]), reversed(batch), strict=False)
  if not fits or not all(size in (1, axis) for size, axis in leading):
    raise ValueError(
      f"attend: {name} must have shape {[*batch, length]} (batch axes may be 1"
      f" or absent), got {list(x.shape)}"
    )
  return x


def rules(mask, score_mod, batch: tuple[int, ...], heads: int) -> None:
  """Mask and score mod are of their kind, and fit the batch and heads."""
  if isinstance(mask, Mask):
    mask.validate(batch, heads)
  elif mask is not None and getattr(mask, "dtype", None) != bool:
    got = getattr(mask, "dtype", type(mask).__name__)
    raise ValueError(
      f"attend: mask must be a Mask or a boolean array, got {got}; of 0"
      " and 1 a token, as tokenizers give them, make mask.astype(bool)"
      "[:, None, None, :]; a rule is masks.causal() or masks.from_fn(fn),"
      " logits to add are bias="
    )

  if score_mod is None:
    return
  if not isinstance(score_mod, ScoreMod):
    raise ValueError(
      f"attend: score_mod must be a ScoreMod, got {type(score_mod).__name__};"
      " wrap a function as score_mods.from_fn(fn, *arrays)"
    )
  score_mod.validate(batch, heads)


def parts(scoring, normalizer, width: int, heads: int) -> None:
  """Scoring and normalizer are of their kind, and fit the width and heads."""
  for name, x, kind in (
    ("scoring", scoring, Scoring),
    ("normalizer", normalizer, Normalizer),
  ):
    if not isinstance(x, kind):
      raise ValueError(
        f"attend: {name} must be a {kind.__name__}, got {type(x).__name__};"
        f" attnjax.{kind.__module__.split('.')[2]} has them"
      )
  scoring.validate(width)
  normalizer.validate(heads)


def segments(query_ids, key_ids) -> tuple:
  """Segment ids come for both sides or for neither, of one dtype.

  >>> segments(None, None)
  (None, None)
  """
  if (query_ids is None) != (key_ids is None):
    raise ValueError(
      "attend: query_segment_ids and key_segment_ids go together; in"
      " self-attention give the same ids twice"
    )
  if query_ids is None:
    return None, None
  names = "attend: query_segment_ids", "attend: key_segment_ids"
  return labels(names, query_ids, key_ids)


def dropout(rate, key) -> float:
  """The rate is a share below 1, and comes with a key."""
  if not isinstance(rate, int | float) or not 0 <= rate < 1:
    raise ValueError(
      "attend: dropout_rate must be a Python number in [0, 1), the share to"
      f" drop, got {rate!r}"
    )
  if rate and key is None:
    raise ValueError(
      f"attend: dropout_rate={rate} needs dropout_key, such as"
      " jax.random.key(0); a key a step comes from jax.random.fold_in"
    )
  return float(rate)


def logits_dtype(asked, *inputs) -> jnp.dtype:
  """float32 or better; float64 where an input is."""
  dtype = jnp.dtype(asked)
  if dtype not in (jnp.dtype("float32"), jnp.dtype("float64")):
    raise ValueError(
      f"attend: logits_dtype must be float32 or float64, got {dtype}; logits"
      " in fewer bits lose the largest of them"
    )
  if any(x.dtype == jnp.float64 for x in inputs):
    return jnp.dtype("float64")
  if dtype == jnp.float64 and not jax.config.read("jax_enable_x64"):
    raise ValueError(
      "attend: logits_dtype float64 needs jax.config.update("
      "'jax_enable_x64', True)"
    )
  return dtype


def bias_of(bias, shape: tuple[int, ...]):
  """Logits to add are real numbers that broadcast to the logits."""
  bias = jnp.asarray(bias)
  if not jnp.issubdtype(bias.dtype, jnp.floating):
    raise ValueError(
      f"attend: bias must be floating point, got {bias.dtype}; what hides keys"
      " is mask="
    )
  return broadcasts("bias", bias, shape)


def aux_names(aux) -> tuple[str, ...]:
  """The extra results asked for, each of them known."""
  names = (aux,) if isinstance(aux, str) else tuple(aux)
  unknown = [n for n in names if n not in AUX]
  if unknown:
    raise ValueError(
      f"attend: aux asks for {unknown}, which is not among {list(AUX)}"
    )
  return names
