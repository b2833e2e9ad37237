"""Keys of a published config.json that say how rotary positions turn.

Two forms are read: `rope_parameters`, of all layers or by type of layer, and
the older `rope_theta`, `rope_scaling` and `partial_rotary_factor`. Written is
the first.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

from attnjax.models.decoder_config import DecoderConfig
from attnjax.models.published.keys import Keys

__all__ = ["Rope"]

_TYPES = ("full_attention", "sliding_attention")


@dataclasses.dataclass(frozen=True)
class Rope:
  """Rotary positions.

  Args:
    base: where no key has it.
    local_base: of windowed layers, where no key has it; None: as the others.
    share: of a head's features that turn, where no key has it.
    original: length of training, where a family has it beside the parameters
      and no key does.
    share_key: of the older form.
    base_key: of the older form.
    local_key: of the older form, of windowed layers.
    default: parameters, where no key has any.
    partial: whether the family has models of which only a share turns; the
      library turns all features of the others, whatever their file says.
  """

  base: float = 10_000.0
  local_base: float | None = None
  share: float = 1.0
  original: int | None = None
  share_key: str = "partial_rotary_factor"
  base_key: str = "rope_theta"
  local_key: str = "rope_local_base_freq"
  default: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  partial: bool = False

  # No field: of two of these rules the later one counts.
  key = "rope_parameters"

  def read(self, keys: Keys) -> dict[str, Any]:
    """Leaves of `rotary`."""
    given = dict(keys.get("rope_parameters", {}))
    older = dict(keys.get("rope_scaling", {}))
    if not given and not older:
      older = dict(self.default)
    base = keys.get(self.base_key, self.base)
    share = keys.get(self.share_key, self.share)

    local: float | None = keys.get(self.local_key, self.local_base)
    if given and set(given) <= {*_TYPES}:
      full, local = _by_type(given, base, local)
    else:
      full = given

    full = {k: v for k, v in (older | full).items() if v is not None}
    base = full.pop("rope_theta", base)
    share = full.pop(self.share_key, share)
    share = full.pop("partial_rotary_factor", share)
    if share != 1 and not self.partial:
      raise ValueError(
        f"config.json: partial_rotary_factor={share} is not honoured for"
        f" {keys.model_type}, all of whose features turn; expected 1"
      )
    width = keys.get("head_dim") or (
      keys.need("hidden_size") // keys.need("num_attention_heads")
    )

    features = int(width * share)
    found = {
      "positions": "rotary",
      "rotary.base": float(base),
      "rotary.features": None if features == width else features,
    }
    try:
      found |= _scaling(full, keys, self.original)
    except KeyError as error:
      raise ValueError(
        f"config.json: rope_parameters must have {error}, got {full}"
      ) from None
    # Equal bases without a scaling are one.
    plain = found.get("rotary.scaling", "none") == "none"
    if local is not None and not (plain and local == base):
      found["rotary.local_base"] = float(local)
    return found

  def write(self, config: DecoderConfig) -> dict[str, Any]:
    """`rope_parameters`, by type of layer where their bases differ."""
    rotary = config.rotary
    width = config.head_width or config.width // config.heads
    full = {"rope_theta": rotary.base, "rope_type": "default"}
    full |= _SCALINGS[rotary.scaling][1](config)
    if self.share != 1 or rotary.features is not None:
      full["partial_rotary_factor"] = (rotary.features or width) / width

    beside: dict[str, Any] = {}
    if self.original is not None:
      beside = {"original_max_position_embeddings": rotary.original_length}
    if self.local_base is None and rotary.local_base is None:
      return beside | {"rope_parameters": full, self.base_key: rotary.base}
    local = rotary.base if rotary.local_base is None else rotary.local_base
    sliding = {"rope_theta": local, "rope_type": "default"}
    both = {"full_attention": full, "sliding_attention": sliding}
    return beside | {"rope_parameters": both}


def _by_type(given, base, local) -> tuple[dict[str, Any], float | None]:
  """Parameters of full layers, and the base of windowed ones."""
  full = dict(given.get("full_attention") or {})
  sliding = dict(given.get("sliding_attention") or {})
  theta = sliding.pop("rope_theta", base if local is None else local)
  kind = sliding.pop("rope_type", "default")
  rest = {k: v for k, v in sliding.items() if v is not None}
  if kind != "default" or rest.pop("partial_rotary_factor", 1.0) != 1 or rest:
    raise ValueError(
      "config.json: rope_parameters of sliding_attention must have a base"
      f" alone, got {given['sliding_attention']}"
    )
  return full, theta


def _scaling(
  given: dict[str, Any], keys: Keys, original: int | None
) -> dict[str, Any]:
  """Leaves of a scaling, whose parameters are all read."""
  given = dict(given)
  kind = given.pop("rope_type", given.pop("type", "default"))
  given.pop("type", None)
  kind = {"su": "longrope", "default": "none"}.get(kind, kind)
  if kind not in _SCALINGS:
    known = sorted({*_SCALINGS} - {"none"})
    raise ValueError(
      f"config.json: rope_type must be default or one of {known}, got {kind!r}"
    )

  limit = None if kind == "none" else keys.need("max_position_embeddings")
  original = keys.get("original_max_position_embeddings", original)
  inside = given.pop("original_max_position_embeddings", None)
  # Where a family has the key beside the parameters, that one counts.
  length = limit if kind == "dynamic" else original or inside or limit
  found = _SCALINGS[kind][0](given, length, limit)
  if given:
    raise ValueError(
      f"config.json: rope_parameters has {given}, which {kind} does not honour"
    )
  if kind == "none":
    return {}
  return {"rotary.scaling": kind} | {f"rotary.{k}": v for k, v in found.items()}


def _read_none(given, length, limit):
  """No scaling: a factor that is given all the same is not used."""
  given.pop("factor", None)
  return {}


def _read_linear(given, length, limit):
  """Linear: the factor."""
  return {"factor": float(given.pop("factor"))}


def _read_dynamic(given, length, limit):
  """Dynamic NTK: the factor and the length."""
  return {"factor": float(given.pop("factor")), "original_length": length}


def _read_llama3(given, length, limit):
  """Llama 3: factor, length, and the turns of the blend."""
  return {
    "factor": float(given.pop("factor")),
    "original_length": length,
    "low": float(given.pop("low_freq_factor")),
    "high": float(given.pop("high_freq_factor")),
  }


def _read_yarn(given, length, limit):
  """YaRN: the gain may be given by one number or by two."""
  factor = float(given.pop("factor", limit / length))
  gain = given.pop("attention_factor", None)
  one, all_ = given.pop("mscale", None), given.pop("mscale_all_dim", None)
  if gain is None and one and all_:
    of = lambda m: 0.1 * m * math.log(factor) + 1 if factor > 1 else 1.0
    gain = of(one) / of(all_)
  return {
    "factor": factor,
    "original_length": length,
    "fast": float(given.pop("beta_fast", None) or 32),
    "slow": float(given.pop("beta_slow", None) or 1),
    "gain": gain,
    "whole": given.pop("truncate", True),
  }


def _read_longrope(given, length, limit):
  """LongRoPE: the gain follows from how much longer texts may be."""
  factor = given.pop("factor", limit / length)
  gain = given.pop("attention_factor", None)
  if gain is None:
    gain = 1.0
    if factor > 1:
      gain = math.sqrt(1 + math.log(factor) / math.log(length))
  return {
    "original_length": length,
    "short": tuple(map(float, given.pop("short_factor"))),
    "long": tuple(map(float, given.pop("long_factor"))),
    "gain": gain,
  }


def _write_yarn(config: DecoderConfig) -> dict[str, Any]:
  """Parameters of YaRN."""
  rotary = config.rotary
  found = {
    "rope_type": "yarn",
    "factor": rotary.factor,
    "original_max_position_embeddings": rotary.original_length,
    "beta_fast": rotary.fast,
    "beta_slow": rotary.slow,
    "truncate": rotary.whole,
  }
  if rotary.gain is not None:
    found["attention_factor"] = rotary.gain
  return found


_SCALINGS: dict[str, tuple[Callable, Callable]] = {
  "none": (_read_none, lambda config: {}),
  "linear": (
    _read_linear,
    lambda c: {"rope_type": "linear", "factor": c.rotary.factor},
  ),
  "dynamic": (
    _read_dynamic,
    lambda c: {"rope_type": "dynamic", "factor": c.rotary.factor},
  ),
  "yarn": (_read_yarn, _write_yarn),
  "llama3": (
    _read_llama3,
    lambda c: {
      "rope_type": "llama3",
      "factor": c.rotary.factor,
      "original_max_position_embeddings": c.rotary.original_length,
      "low_freq_factor": c.rotary.low,
      "high_freq_factor": c.rotary.high,
    },
  ),
  "longrope": (
    _read_longrope,
    lambda c: {
      "rope_type": "longrope",
      "short_factor": list(c.rotary.short),
      "long_factor": list(c.rotary.long),
      "attention_factor": c.rotary.gain,
      "original_max_position_embeddings": c.rotary.original_length,
    },
  ),
}
