"""Config and presets of the comparison of the speeds of memories."""

import dataclasses

from attnjax.config import Config, check_each_once, setting
from attnjax.models import MemoryLMConfig
from experiments.memory_models import ARCHITECTURES
from experiments.timing.rounds import RoundsConfig

__all__ = ["PARTS", "PRESETS", "MemorySpeedConfig"]

PARTS = ("layer", "model", "chunked")
RULES = ("gated_delta_net", "titans")
# Those of the experiment memory_lm in its preset tiny.
_SIZES = MemoryLMConfig(
  window=60,
  persistent=4,
  segment=64,
  width=96,
  depth=2,
  heads=4,
  chunk=16,
)


def _shapes(sizes: tuple[str, ...]) -> list[tuple[int, int]]:
  """Parses texts such as 16x128 to pairs (B, T)."""
  pairs = [size.split("x") for size in sizes]
  return [(int(batch), int(length)) for batch, length in pairs]


@dataclasses.dataclass(frozen=True)
class LayerConfig(Config):
  """Output and gradient of one layer, ours and that of titans-pytorch."""

  heads: int = setting(2, "heads H; the layer is H D wide", at_least=1)
  head_width: int = setting(32, "width D of a head, features", at_least=1)
  sizes: tuple[str, ...] = setting(
    ("16x128", "2x1024"), "rows B x tokens T, each as 16x128"
  )
  chunks: tuple[int, ...] = setting(
    (16, 64), "tokens C whose gradients are taken at one place", at_least=1
  )

  def __post_init__(self):
    super().__post_init__()

    for size in self.sizes:
      parts = size.split("x")
      # Texts, for a flag has no list of pairs.
      if len(parts) != 2 or not all(n.isdigit() and int(n) for n in parts):
        raise ValueError(
          f"layer.sizes: expected rows x tokens, as 16x128, got {size!r}"
        )
      for chunk in self.chunks:
        if chunk < 1 or int(parts[1]) % chunk:
          raise ValueError(
            f"layer.chunks: each must divide the tokens of {size}, got {chunk}"
          )

  def shapes(self) -> list[tuple[int, int]]:
    """Every (B, T)."""
    return _shapes(self.sizes)


@dataclasses.dataclass(frozen=True)
class ModelConfig(Config):
  """Loss and gradient of language models on one row."""

  architectures: tuple[str, ...] = setting(
    ("full attention", "gated delta net", "LMM", "MAC", "MAG"),
    "the first is what the others are set in relation to",
    choices=tuple(ARCHITECTURES),
  )
  lengths: tuple[int, ...] = setting((256, 512, 1024), "T, tokens", at_least=1)
  parameters: int = setting(350_000, "of every model, about", at_least=1)
  vocabulary: int = setting(257, "V, tokens", at_least=1)
  sizes: MemoryLMConfig = _SIZES

  def __post_init__(self):
    super().__post_init__()
    if not self.architectures or min(self.lengths, default=0) < 1:
      raise ValueError(
        "model: expected one architecture or more, and lengths >= 1, got"
        f" {self.architectures}, {self.lengths}"
      )


@dataclasses.dataclass(frozen=True)
class ChunkedConfig(Config):
  """A memory chunk by chunk, against token by token."""

  rules: tuple[str, ...] = setting(RULES, "memories, by name", choices=RULES)
  sizes: tuple[str, ...] = setting(
    ("1x1024",), "rows B x tokens T, each as 1x1024"
  )
  chunk: int = setting(64, "tokens C computed at once", at_least=1)
  heads: int = setting(2, "heads H", at_least=1)
  head_width: int = setting(32, "width D of a head, features", at_least=1)

  def __post_init__(self):
    super().__post_init__()
    # The same conditions on sizes and chunks, with the same messages.
    LayerConfig(self.heads, self.head_width, self.sizes, (self.chunk,))

  def shapes(self) -> list[tuple[int, int]]:
    """Every (B, T)."""
    return _shapes(self.sizes)


@dataclasses.dataclass(frozen=True)
class MemorySpeedConfig(Config):
  """All that is measured. All is float32."""

  parts: tuple[str, ...] = setting(PARTS, "what to measure", choices=PARTS)
  layer: LayerConfig = LayerConfig()
  model: ModelConfig = ModelConfig()
  chunked: ChunkedConfig = ChunkedConfig()
  memory_limit_gb: float = setting(
    6.0,
    "what JAX would need more for is not run but says so, 10^9 bytes",
    above=0,
  )
  seed: int = setting(0, "of inputs and parameters", at_least=0, below=2**32)
  rounds: RoundsConfig = RoundsConfig()

  def __post_init__(self):
    super().__post_init__()
    check_each_once(self, "parts")


def tiny() -> MemorySpeedConfig:
  """Short rows: a minute or two of a core."""
  return MemorySpeedConfig(
    layer=LayerConfig(sizes=("2x128",), chunks=(16,)),
    chunked=ChunkedConfig(sizes=("1x256",)),
    rounds=RoundsConfig(seconds=0.5, least=3),
  )


def base() -> MemorySpeedConfig:
  """What the README shows: about half an hour of a core."""
  return MemorySpeedConfig(
    model=ModelConfig(lengths=(1024, 2048, 4096, 8192, 16384)),
    chunked=ChunkedConfig(sizes=("1x1024", "4x1024")),
    rounds=RoundsConfig(seconds=2.0, least=3),
  )


PRESETS = {"tiny": tiny, "base": base}
