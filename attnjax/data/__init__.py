"""Texts, tokenizers, packed rows, batches by step, and compression baselines.

Beside them are readers of public data: pronunciations, verses in two languages,
tagged sentences, images, reactions. They read what `fetch` has downloaded, and
`fetch` downloads only when it is called.

Nothing here imports tokenizers, scikit-learn or pysword until it is used: byte
pair encoding wants `attnjax[bpe]`, `digits` `attnjax[vision]`, `load_verses`
`attnjax[translation]`.
"""

from attnjax.data.assets import ASSETS, Asset, AssetError, cached, fetch
from attnjax.data.bpe import BpeTokenizer, train_bpe
from attnjax.data.carried import CarriedBatches, carried_batches
from attnjax.data.corpora import CORPORA, Document, load
from attnjax.data.examples import Examples
from attnjax.data.g2p_checkpoint import G2P_GRAPHEMES, G2P_PHONEMES, g2p_weights
from attnjax.data.images import Images, digits, fashion_mnist, mnist5k
from attnjax.data.packing import Packed, pack
from attnjax.data.pipeline import (
  EvaluationBatches,
  TrainBatches,
  evaluation_batches,
  train_batches,
)
from attnjax.data.pronunciations import (
  GRAPHEMES,
  Word,
  load_pronunciations,
  phoneme_vocabulary,
  split_words,
)
from attnjax.data.published_files import minilm, smollm2
from attnjax.data.reactions import (
  MappedReaction,
  ReactionVocabulary,
  expected_maps,
  reaction_vocabulary,
  reaction_weights,
  smiles_tokens,
)
from attnjax.data.split import shared_lines, split
from attnjax.data.split_by_hash import hash_split
from attnjax.data.tagged import (
  TaggedSentence,
  adjective_noun_events,
  load_brown,
  split_sentences,
)
from attnjax.data.text import TextConfig, TextData, load_text
from attnjax.data.tokenizers import (
  ByteTokenizer,
  Tokenizer,
  load_tokenizer,
  show,
)
from attnjax.data.torch_archive import read_torch_archive
from attnjax.data.verses import VersePair, load_verses, split_verses
from attnjax.data.vocabulary import Vocabulary, encode_pairs
from attnjax.data.yardsticks import byte_bits, yardsticks
from attnjax.moved import forward_names

__all__ = [
  "ASSETS",
  "CORPORA",
  "G2P_GRAPHEMES",
  "G2P_PHONEMES",
  "GRAPHEMES",
  "Asset",
  "AssetError",
  "BpeTokenizer",
  "ByteTokenizer",
  "CarriedBatches",
  "Document",
  "EvaluationBatches",
  "Examples",
  "Images",
  "MappedReaction",
  "Packed",
  "ReactionVocabulary",
  "TaggedSentence",
  "TextConfig",
  "TextData",
  "Tokenizer",
  "TrainBatches",
  "VersePair",
  "Vocabulary",
  "Word",
  "adjective_noun_events",
  "byte_bits",
  "cached",
  "carried_batches",
  "digits",
  "encode_pairs",
  "evaluation_batches",
  "expected_maps",
  "fashion_mnist",
  "fetch",
  "g2p_weights",
  "hash_split",
  "load",
  "load_brown",
  "load_pronunciations",
  "load_text",
  "load_tokenizer",
  "load_verses",
  "minilm",
  "mnist5k",
  "pack",
  "phoneme_vocabulary",
  "reaction_vocabulary",
  "reaction_weights",
  "read_torch_archive",
  "shared_lines",
  "show",
  "smiles_tokens",
  "smollm2",
  "split",
  "split_sentences",
  "split_verses",
  "split_words",
  "train_batches",
  "train_bpe",
  "yardsticks",
]


# Names of earlier versions, with a `DeprecationWarning`.
__getattr__ = forward_names(__name__)
