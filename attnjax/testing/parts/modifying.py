"""How a logit is changed by where it stands."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from attnjax import score_mods

__all__ = ["SCORE_MODS", "ScoreModPart"]


class ScoreModPart(NamedTuple):
  """One score mod, twice over.

  build makes attnjax's of the captured arrays. rule is elementwise, so that one
  text serves numpy and JAX: ``rule(xp, logit, b, h, q, k, *arrays)``.
  """

  build: Callable
  rule: Callable
  arrays: tuple[str, ...] = ()


def _softcap(xp, logit, b, h, q, k):
  return 1.5 * xp.tanh(logit / 1.5)


def _alibi(xp, logit, b, h, q, k, slopes):
  return logit - slopes[h] * abs(q - k).astype(logit.dtype)


def _capped_alibi(xp, logit, b, h, q, k, slopes):
  return _alibi(xp, _softcap(xp, logit, b, h, q, k), b, h, q, k, slopes)


def _relative_bias(xp, logit, b, h, q, k, table):
  """T5: half the buckets a side; exact near by, logarithmic to distance 128."""
  half = table.shape[0] // 2
  exact = half // 2
  distance = abs(q - k)
  far = xp.maximum(distance, 1).astype(xp.float32) / exact
  far = exact + xp.log(far) / math.log(128 / exact) * (half - exact)
  far = xp.minimum(far.astype(xp.int32), half - 1)
  bucket = xp.where(distance < exact, distance, far)
  bucket = bucket + xp.where(k > q, half, 0)
  return logit + table[bucket, h]


def _captured(xp, logit, b, h, q, k, gain, table):
  return logit * gain[h] + table[(q - k) % table.shape[0]]


def _captured_fn(logit, b, h, q, k, gain, table):
  return _captured(jnp, logit, b, h, q, k, gain, table)


def _log_distance(xp, logit, b, h, q, k, gain):
  """Not a number for a key ahead of the query, which must be hidden."""
  return logit - gain[h] * xp.log((q - k + 1).astype(logit.dtype))


def _log_distance_fn(logit, b, h, q, k, gain):
  return _log_distance(jnp, logit, b, h, q, k, gain)


def _build_softcap():
  return score_mods.softcap(1.5)


def _build_capped_alibi(slopes):
  return score_mods.compose(score_mods.softcap(1.5), score_mods.alibi(slopes))


def _build_relative_bias(table):
  return score_mods.relative_bias(table)


def _build_captured(gain, table):
  return score_mods.from_fn(_captured_fn, gain, table)


def _build_log_distance(gain):
  return score_mods.from_fn(_log_distance_fn, gain)


SCORE_MODS = {
  "softcap": ScoreModPart(_build_softcap, _softcap),
  "alibi": ScoreModPart(score_mods.alibi, _alibi, ("+slopes: H",)),
  "softcap then alibi": ScoreModPart(
    _build_capped_alibi, _capped_alibi, ("+slopes: H",)
  ),
  "relative_bias": ScoreModPart(
    _build_relative_bias, _relative_bias, ("table: N H",)
  ),
  "captured arrays": ScoreModPart(
    _build_captured, _captured, ("gain: H", "table: N")
  ),
  "log distance": ScoreModPart(
    _build_log_distance, _log_distance, ("+gain: H",)
  ),
}
