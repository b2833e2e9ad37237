"""Keys of a published config.json that say what the layers attend to.

Published windows count the token itself: a window of w sees w - 1 positions
before its own.
"""

import dataclasses
from typing import Any

from attnjax.models.decoder_config import DecoderConfig
from attnjax.models.published.keys import Keys

__all__ = [
  "LayerTypes",
  "LocalLayers",
  "UnrotatedLayers",
  "Window",
  "shortest_pattern",
]

_TYPES = {"full_attention": "full", "sliding_attention": "window"}


def shortest_pattern(kinds: tuple[str, ...]) -> tuple[str, ...]:
  """The shortest pattern whose repetition begins with these kinds.

  >>> shortest_pattern(("a", "b", "a", "b", "a"))
  ('a', 'b')
  """
  for size in range(1, len(kinds) + 1):
    if all(kind == kinds[i % size] for i, kind in enumerate(kinds)):
      return kinds[:size]
  return kinds


def _leaves(kinds: tuple[str, ...], window: int | None) -> dict[str, Any]:
  """Leaves of kinds of layers and of the window that those windowed have."""
  if not any(kind.startswith("window") for kind in kinds):
    window = None
  elif window is None:
    raise ValueError(
      "config.json: sliding_window must be given where layers have a window,"
      " got null"
    )
  pattern = shortest_pattern(kinds)
  return {
    "window": None if window is None else window - 1,
    # What the window alone says is the default.
    "layers": () if pattern in (("full",), ("window",)) else pattern,
  }


def _window(config: DecoderConfig) -> int | None:
  """The published window of a config."""
  return None if config.window is None else config.window + 1


def _types(config: DecoderConfig) -> list[str]:
  """Published names of the kinds of layers, rotated or not."""
  window = lambda kind: kind.startswith("window")
  names = ("full_attention", "sliding_attention")
  return [names[window(kind)] for kind in config.kinds]


@dataclasses.dataclass(frozen=True)
class Window:
  """A window of every layer, or none.

  Args:
    default: of the window.
    asks: the key `use_sliding_window` has to allow it.
  """

  default: int | None = None
  asks: bool = False

  def read(self, keys: Keys) -> dict[str, Any]:
    """The window of all layers."""
    # Null means none here, and a missing key the default.
    window = keys.get("sliding_window")
    if "sliding_window" not in keys.values:
      window = self.default
    if self.asks:
      window = window if keys.get("use_sliding_window", False) else None
      # In published files, and of no effect.
      keys.get("max_window_layers")
    kind = "full" if window is None else "window"
    return _leaves((kind,), window)

  def write(self, config: DecoderConfig) -> dict[str, Any]:
    """The window; null where there is none."""
    found: dict[str, Any] = {"sliding_window": _window(config)}
    if self.asks:
      found["use_sliding_window"] = config.window is not None
    return found


@dataclasses.dataclass(frozen=True)
class LayerTypes:
  """A type for every layer, or a rule for all where there is no list.

  Args:
    period: of layers without the list, the last of each period is full.
    asks: the key `use_sliding_window` has to allow windows, and layers below
      `max_window_layers` are full: the older form of Qwen.
    below: layers below `max_window_layers` have windows by the period, and
      the others are full: the older form of mixtures of Qwen.
    default: of the window.
  """

  period: int = 1
  asks: bool = False
  below: bool = False
  default: int | None = None

  def read(self, keys: Keys) -> dict[str, Any]:
    """Kinds of layers and their window."""
    depth, window = (
      keys.need("num_hidden_layers"),
      keys.get("sliding_window", self.default),
    )
    allowed = keys.get("use_sliding_window", False) if self.asks else True
    first = keys.get("max_window_layers", 28) if self.asks else 0
    period = keys.get("sliding_window_pattern", self.period)
    types = keys.get("layer_types")
    if types is not None:
      unknown = sorted({*types} - {*_TYPES})
      if unknown or len(types) != depth:
        raise ValueError(
          f"config.json: layer_types must have one of {[*_TYPES]} for each of"
          f" {depth} layers, got {len(types)} of them {unknown or ''}"
        )
      return _leaves(tuple(_TYPES[name] for name in types), window)

    by_turns = self.below or not self.asks
    windowed = lambda i: (
      allowed
      and window is not None
      and (i < first if self.below else i >= first)
      and not (by_turns and (i + 1) % period == 0)
    )
    kinds = ("window" if windowed(i) else "full" for i in range(depth))
    return _leaves(tuple(kinds), window)

  def write(self, config: DecoderConfig) -> dict[str, Any]:
    """The list and the window."""
    found = {"layer_types": _types(config), "sliding_window": _window(config)}
    if self.asks:
      found["use_sliding_window"] = config.window is not None
      found["max_window_layers"] = config.depth
    return found


@dataclasses.dataclass(frozen=True)
class LocalLayers:
  """Layers of an encoder that see so many tokens, half to each side."""

  def read(self, keys: Keys) -> dict[str, Any]:
    """Kinds of layers, and the window to one side."""
    depth, tokens = (
      keys.need("num_hidden_layers"),
      keys.get("local_attention", 128),
    )
    every = keys.get("global_attn_every_n_layers", 3)
    types = keys.get("layer_types") or [
      "sliding_attention" if i % every else "full_attention"
      for i in range(depth)
    ]
    kinds = tuple(_TYPES[name] for name in types)
    return _leaves(kinds, tokens // 2 + 1)

  def write(self, config: DecoderConfig) -> dict[str, Any]:
    """The list and the tokens."""
    found: dict[str, Any] = {"layer_types": _types(config)}
    if config.window is not None:
      found["local_attention"] = 2 * config.window
    return found


@dataclasses.dataclass(frozen=True)
class UnrotatedLayers:
  """Layers without positions, which alone may have a window: SmolLM 3."""

  def read(self, keys: Keys) -> dict[str, Any]:
    """Kinds of layers and their window."""
    depth, window = keys.need("num_hidden_layers"), keys.get("sliding_window")
    every = keys.get("no_rope_layer_interval", 4)
    rotated = keys.get(
      "no_rope_layers", [(i + 1) % every != 0 for i in range(depth)]
    )
    allowed = keys.get("use_sliding_window", False) and window is not None
    # In published files, and of no effect.
    keys.get("max_window_layers")
    types = keys.get("layer_types")
    if types is None:
      types = [
        "sliding_attention" if allowed and not turned else "full_attention"
        for turned in rotated[:depth]
      ]

    kinds = tuple(
      _TYPES[name] + ("" if turned else "_unrotated")
      for name, turned in zip(types, rotated[:depth], strict=True)
    )
    return _leaves(kinds, window)

  def write(self, config: DecoderConfig) -> dict[str, Any]:
    """Lists of both, and the window."""
    rotated = [int(not kind.endswith("unrotated")) for kind in config.kinds]
    return {
      "no_rope_layers": rotated,
      "layer_types": _types(config),
      "sliding_window": _window(config),
      "use_sliding_window": config.window is not None,
    }
