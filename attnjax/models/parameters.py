"""How many parameters a decoder has, by formula, part by part."""

from attnjax.models.decoder_block import DecoderConfig

__all__ = ["decoder_parameters", "total"]


def decoder_parameters(
  config: DecoderConfig, vocabulary: int
) -> dict[str, int]:
  """Parameters of a `DecoderLM`, by part.

      attention    = L (M H D + 2 M K D + H D M)
      feed-forward = L n M F, n = 3 for swiglu and 2 else
      embedding    = V M, and as much again for a readout of its own

  Args:
    config: of the decoder.
    vocabulary: V.

  Returns:
    Counts by name: embedding, readout, attention, feed_forward, and the small
    parts: positions, biases, norms.

  GPT-3 as published counts matrices alone:

  >>> from attnjax.models.decoder_block import DecoderConfig
  >>> gpt3 = DecoderConfig(width=12288, depth=96, heads=96, hidden=49152,
  ...   norm="layer", use_bias=True, positions="learned", tied=False)
  >>> parts = decoder_parameters(gpt3, 50257)
  >>> matrices = "embedding", "readout", "attention", "feed_forward"
  >>> sum(parts[name] for name in matrices)
  175181291520

  Reference:
    Brown et al., "Language Models are Few-Shot Learners", 2020, arXiv
    2005.14165, table 2.1; the count: 3Blue1Brown, "Attention in transformers,
    step-by-step", 2024.
  """
  m, f, depth = config.width, config.hidden, config.depth
  h = config.heads
  k = h if config.kv_heads is None else config.kv_heads
  d = m // h if config.head_width is None else config.head_width
  maps = 3 if config.activation == "swiglu" else 2
  learned = config.positions == "learned"
  per_block_bias = h * d + 2 * k * d + m + (maps - 1) * f + m
  norm = m * (2 if config.norm == "layer" and config.use_bias else 1)
  return {
    "embedding": vocabulary * m,
    "readout": 0 if config.tied else vocabulary * m,
    "attention": depth * (2 * m * h * d + 2 * m * k * d),
    "feed_forward": depth * maps * m * f,
    "positions": config.max_length * m if learned else 0,
    "biases": depth * per_block_bias if config.use_bias else 0,
    "norms": (2 * depth + 1) * norm,
  }


def total(parts: dict[str, int]) -> int:
  """The sum of all parts.

  >>> total({"embedding": 3, "norms": 2})
  5
  """
  return sum(parts.values())
