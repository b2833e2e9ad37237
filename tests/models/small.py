"""A decoder small enough to compile in a second, and one way to call it."""

import jax
import numpy as np
from flax import nnx

from attnjax.models import DecoderConfig, DecoderLM
from tests import drawn

__all__ = ["KINDS", "SIZES", "V", "decoder", "forward"]

KINDS = ("rotary", "learned", "sinusoidal", "alibi", "none")
V = 13
SIZES = {
  "width": 10,
  "depth": 3,
  "heads": 4,
  "kv_heads": 2,
  "head_width": 6,
  "hidden": 7,
  "max_length": 17,
}


def decoder(vocabulary=V, **options):
  """A decoder whose parameters are drawn, so that nothing is near zero."""
  config = DecoderConfig(**(SIZES | options))
  make = lambda: DecoderLM(config, vocabulary, rngs=nnx.Rngs(0))
  return drawn.module(make)


@jax.jit
def _forward(model, tokens, positions, segment_ids):
  return model(tokens, positions=positions, segment_ids=segment_ids)


def forward(model, tokens, positions=None, segment_ids=None):
  """Logits, always by the same program for a model and a shape of tokens."""
  tokens = np.asarray(tokens, np.int32)
  if positions is None:
    positions = np.arange(tokens.shape[-1])
  if segment_ids is None:
    segment_ids = np.zeros_like(tokens)
  rows = [np.broadcast_to(x, tokens.shape) for x in (positions, segment_ids)]
  return np.asarray(
    _forward(model, tokens, *(x.astype(np.int32) for x in rows))
  )
