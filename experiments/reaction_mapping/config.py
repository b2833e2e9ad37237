"""The presets of the mapping of reactions."""

import dataclasses

from attnjax.config import setting
from attnjax.models import AlbertConfig

__all__ = ["MODEL", "PRESETS", "MappingConfig"]

MODEL = AlbertConfig()  # the published sizes, which the weights have


@dataclasses.dataclass(frozen=True)
class MappingConfig:
  """All that the experiment is determined by."""

  reaction: str = setting(
    "",
    "your own reaction, reactants>>products as SMILES, to map and to draw;"
    " empty: those that the published program is tested with",
  )
  unknown_ok: bool = setting(
    False, "whether `reaction` may have tokens that the model never learned"
  )
  layer: int = setting(10, "layer whose head maps, counted from 0")
  head: int = setting(5, "head that maps, counted from 0")
  multiplier: float = setting(
    90.0, "how much more attention between neighbours of mapped atoms counts"
  )
  seeds: int = setting(3, "untrained networks, and orders of the reactants")

  def __post_init__(self):
    for name, count in (("layer", MODEL.depth), ("head", MODEL.heads)):
      if not 0 <= getattr(self, name) < count:
        raise ValueError(
          f"{name} must be within 0 and {count - 1}, got {getattr(self, name)}"
        )
    if self.seeds < 1:
      raise ValueError(f"seeds must be at least 1, got {self.seeds}")
    if self.multiplier <= 0:
      raise ValueError(f"multiplier must be above 0, got {self.multiplier}")


def tiny() -> MappingConfig:
  """All the published program's own reactions: a minute on two cores."""
  return MappingConfig()


PRESETS = {"tiny": tiny}
