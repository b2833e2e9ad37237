"""Config and preset of the induction experiment."""

import dataclasses

from attnjax.config import Config, setting

__all__ = ["PRESETS", "InductionConfig"]


@dataclasses.dataclass(frozen=True)
class InductionConfig(Config):
  """Which model, how much random text, and how many heads are silenced."""

  path: str | None = setting(
    None,
    "directory or GGUF file of the model; none: SmolLM2-135M-Instruct, an"
    " asset of 93 MB",
    path=True,
  )
  length: int = setting(50, "random tokens, said twice in a row", at_least=2)
  rows: int = setting(4, "rows of random tokens", at_least=1)
  silenced: tuple[int, ...] = setting(
    (4, 8, 16), "heads that are silenced together", at_least=1
  )
  controls: int = setting(
    5, "draws of as many other heads of the same layers", at_least=1
  )
  seed: int = setting(0, "of tokens and controls", at_least=0, below=2**32)


def tiny() -> InductionConfig:
  """SmolLM2 on four rows, two minutes on two cores."""
  return InductionConfig()


PRESETS = {"tiny": tiny}
