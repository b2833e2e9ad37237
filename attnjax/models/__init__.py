"""Whole networks, and what is done with them."""

from attnjax.models.decoder import DecoderLM
from attnjax.models.decoder_block import DecoderConfig
from attnjax.models.generate import generate
from attnjax.models.parameters import decoder_parameters, total
from attnjax.models.sampling import sample

__all__ = [
  "DecoderConfig",
  "DecoderLM",
  "decoder_parameters",
  "generate",
  "sample",
  "total",
]
