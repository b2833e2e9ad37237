"""Config and presets of the experiment on the cost of context."""

import dataclasses

from attnjax.config import Config, setting

__all__ = ["PRESETS", "ContextCostConfig"]


@dataclasses.dataclass(frozen=True)
class ContextCostConfig(Config):
  """Lengths and shapes that are measured, rounds, and a memory limit."""

  lengths: tuple[int, ...] = setting(
    (256, 512, 1024, 2048, 4096, 8192), "context T, tokens", at_least=1
  )
  batch: int = setting(1, "rows B", at_least=1)
  heads: int = setting(4, "heads H", at_least=1)
  width: int = setting(64, "width D of a head, features", at_least=1)
  causal: bool = setting(True, "whether a query sees only what came before")
  rounds: int = setting(
    5, "times that every computation is timed, in turn", at_least=1
  )
  limit_gb: float = setting(
    3.0,
    "temporary memory beyond which nothing is run, only compiled, GB",
    above=0,
  )

  def __post_init__(self):
    super().__post_init__()
    if len(self.lengths) < 2 or min(self.lengths) < 1:
      raise ValueError(
        f"lengths: expected two numbers >= 1 or more, got {self.lengths}"
      )


def tiny() -> ContextCostConfig:
  """To 8192 tokens, two minutes on two cores."""
  return ContextCostConfig()


def base() -> ContextCostConfig:
  """Up to 65 536 tokens where memory allows: ten minutes on two cores."""
  return ContextCostConfig(
    lengths=(512, 1024, 2048, 4096, 8192, 16384, 32768, 65536), rounds=2
  )


PRESETS = {"tiny": tiny, "base": base}
