"""Texts, tokenizers, packed rows, batches by step, and honest yardsticks.

Nothing here imports grain or tokenizers until it is used: `train_batches`
wants `attnjax[data]`, and byte pair encoding wants `attnjax[bpe]`.
"""

from attnjax.data.bpe import BpeTokenizer, train_bpe
from attnjax.data.corpora import CORPORA, Document, load
from attnjax.data.examples import ExampleBatches, Examples
from attnjax.data.packing import Packed, pack
from attnjax.data.pipeline import (
  EvaluationBatches,
  TrainBatches,
  evaluation_batches,
  train_batches,
)
from attnjax.data.split import shared_lines, split
from attnjax.data.text import TextConfig, TextData, load_text
from attnjax.data.tokenizers import (
  ByteTokenizer,
  Tokenizer,
  load_tokenizer,
  show,
)
from attnjax.data.yardsticks import yardsticks

__all__ = [
  "CORPORA",
  "BpeTokenizer",
  "ByteTokenizer",
  "Document",
  "EvaluationBatches",
  "ExampleBatches",
  "Examples",
  "Packed",
  "TextConfig",
  "TextData",
  "Tokenizer",
  "TrainBatches",
  "evaluation_batches",
  "load",
  "load_text",
  "load_tokenizer",
  "pack",
  "shared_lines",
  "show",
  "split",
  "train_batches",
  "train_bpe",
  "yardsticks",
]
