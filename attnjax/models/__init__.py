"""Models, and searching, sampling and partition rules for them."""

from attnjax.models.albert import Albert, AlbertConfig, load_albert
from attnjax.models.beam_search import (
  Hypotheses,
  NextToken,
  beam_search,
  greedy,
)
from attnjax.models.decoder import DecoderLM
from attnjax.models.decoder_config import DecoderConfig, RotaryConfig
from attnjax.models.decoder_parameters import decoder_parameters, total
from attnjax.models.encoded_source import (
  CrossMemory,
  EncoderDecoderAux,
  SequenceMemory,
)
from attnjax.models.encoder import (
  Encoder,
  EncoderConfig,
  sentence_embeddings,
)
from attnjax.models.encoder_decoder import EncoderDecoder, EncoderDecoderConfig
from attnjax.models.generate import generate
from attnjax.models.layer_configs import ExpertsConfig, LatentConfig
from attnjax.models.lora import (
  LoraAdapters,
  LoraConfig,
  init_lora,
  merge_lora,
)
from attnjax.models.memory_config import MemoryLMConfig
from attnjax.models.memory_lm import MemoryLM, norms_by_layer
from attnjax.models.partition import MATRICES, partition_rules
from attnjax.models.published import (
  ImageProcessor,
  PublishedTokenizer,
  load,
  save,
)
from attnjax.models.sampling import sample
from attnjax.models.seq2seq import Seq2Seq, Seq2SeqConfig
from attnjax.models.translate import translate
from attnjax.models.vit import ViT, ViTConfig

__all__ = [
  "MATRICES",
  "Albert",
  "AlbertConfig",
  "CrossMemory",
  "DecoderConfig",
  "DecoderLM",
  "Encoder",
  "EncoderConfig",
  "EncoderDecoder",
  "EncoderDecoderAux",
  "EncoderDecoderConfig",
  "ExpertsConfig",
  "Hypotheses",
  "ImageProcessor",
  "LatentConfig",
  "LoraAdapters",
  "LoraConfig",
  "MemoryLM",
  "MemoryLMConfig",
  "NextToken",
  "PublishedTokenizer",
  "RotaryConfig",
  "Seq2Seq",
  "Seq2SeqConfig",
  "SequenceMemory",
  "ViT",
  "ViTConfig",
  "beam_search",
  "decoder_parameters",
  "generate",
  "greedy",
  "init_lora",
  "load",
  "load_albert",
  "merge_lora",
  "norms_by_layer",
  "partition_rules",
  "sample",
  "save",
  "sentence_embeddings",
  "total",
  "translate",
]
