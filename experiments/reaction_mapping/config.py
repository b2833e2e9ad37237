"""Config and preset of the reaction-mapping experiment."""

import dataclasses

from attnjax.config import Config, setting
from attnjax.models import AlbertConfig

__all__ = ["MODEL", "PRESETS", "MappingConfig"]

MODEL = AlbertConfig()  # the published sizes, which the weights have


@dataclasses.dataclass(frozen=True)
class MappingConfig(Config):
  """Which reactions are mapped, by which head of the published model."""

  reaction: str = setting(
    "",
    "your own reaction, reactants>>products as SMILES, to map and to draw;"
    " empty: those that the published program is tested with",
  )
  unknown_ok: bool = setting(
    False, "whether `reaction` may have tokens that the model never learned"
  )
  # Head 5 of layer 10, counted from 0, and the multiplier of 90 are the
  # defaults of the published program.
  layer: int = setting(
    10, "layer whose head maps, counted from 0", at_least=0, below=MODEL.depth
  )
  head: int = setting(
    5, "head that maps, counted from 0", at_least=0, below=MODEL.heads
  )
  multiplier: float = setting(
    90.0,
    "how much more attention between neighbours of mapped atoms counts",
    above=0,
  )
  seeds: int = setting(
    3, "untrained networks, and orders of the reactants", at_least=1
  )


def tiny() -> MappingConfig:
  """All reactions of the published program's tests: a minute on two cores."""
  return MappingConfig()


PRESETS = {"tiny": tiny}
