"""Whole networks, and what is done with them."""

from attnjax.models.albert import Albert, AlbertConfig
from attnjax.models.albert_weights import load_albert
from attnjax.models.beam_search import beam_search, greedy
from attnjax.models.decoder import DecoderLM
from attnjax.models.decoder_block import DecoderConfig
from attnjax.models.encoder_decoder import EncoderDecoder
from attnjax.models.encoder_decoder_config import EncoderDecoderConfig
from attnjax.models.generate import generate
from attnjax.models.hypotheses import Hypotheses, NextToken
from attnjax.models.memory import (
  CrossMemory,
  EncoderDecoderAux,
  SequenceMemory,
)
from attnjax.models.memory_config import MemoryLMConfig
from attnjax.models.memory_lm import MemoryLM, norms_by_layer
from attnjax.models.parameters import decoder_parameters, total
from attnjax.models.partition import partition_rules
from attnjax.models.sampling import sample
from attnjax.models.seq2seq import Seq2Seq, Seq2SeqConfig
from attnjax.models.translate import translate
from attnjax.models.vit import ViT, ViTConfig

__all__ = [
  "Albert",
  "AlbertConfig",
  "CrossMemory",
  "DecoderConfig",
  "DecoderLM",
  "EncoderDecoder",
  "EncoderDecoderAux",
  "EncoderDecoderConfig",
  "Hypotheses",
  "MemoryLM",
  "MemoryLMConfig",
  "NextToken",
  "Seq2Seq",
  "Seq2SeqConfig",
  "SequenceMemory",
  "ViT",
  "ViTConfig",
  "beam_search",
  "decoder_parameters",
  "generate",
  "greedy",
  "load_albert",
  "norms_by_layer",
  "partition_rules",
  "sample",
  "total",
  "translate",
]
