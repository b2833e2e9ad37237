"""The number of parameters of a `DecoderLM`, part by part, from its config."""

from attnjax.models.decoder_config import DecoderConfig
from attnjax.ops.activations import GATED

__all__ = ["decoder_parameters", "total"]


def decoder_parameters(
  config: DecoderConfig, vocabulary: int
) -> dict[str, int]:
  """Number of parameters of a `DecoderLM`, by part.

      attention    = L (M H D + 2 M K D + H D M), or with latents
                     L (M (Z + R + Q) + Z H (N + E) + Q H D + H E M), N = D - R
      feed-forward = L n M F, n = 3 for gated activations and 2 else; of a
                     mixture X times as many, shared experts and the router
      embedding    = V M, and as much again for a readout of its own

  Args:
    config: of the decoder.
    vocabulary: V.

  Returns:
    Counts by name: embedding, readout, attention, feed_forward, and the small
    parts: positions, biases (and sinks), norms.

  GPT-3 as published counts matrices alone:

  >>> from attnjax.models.decoder import DecoderConfig
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
  m, depth = config.width, config.depth
  h = config.heads
  k = h if config.kv_heads is None else config.kv_heads
  d = m // h if config.head_width is None else config.head_width
  maps = 3 if config.activation in GATED else 2
  learned = config.positions == "learned"
  rows = config.max_length + config.position_offset

  feed_forward, feed_forward_bias = _feed_forward(config, maps)
  attention, attention_bias, attention_norms = _attention(config, h, k, d)
  norm = m * (2 if config.norm == "layer" and config.use_bias else 1)
  norms = {"sandwich": 4, "parallel_one": 1}.get(config.order, 2)

  return {
    "embedding": vocabulary * m,
    "readout": 0 if config.tied else vocabulary * m,
    "attention": depth * attention,
    "feed_forward": feed_forward,
    "positions": rows * m if learned else 0,
    "biases": depth * (attention_bias + h * config.sinks) + feed_forward_bias,
    # Those of each block, and the one before the readout.
    "norms": depth * attention_norms + (depth * norms + 1) * norm,
  }


def _feed_forward(config: DecoderConfig, maps: int) -> tuple[int, int]:
  """Weights and biases of all feed-forward layers and mixtures."""
  m, experts = config.width, config.experts
  mixtures = config.depth - len(experts.dense) if experts.count else 0
  plain = config.depth - mixtures
  hidden = experts.dense_hidden if mixtures else config.hidden

  # A mixture has a router, X experts of these maps, and one that is shared.
  features = experts.count * config.hidden + experts.shared
  router = (experts.count + (experts.shared > 0 and experts.shared_gate)) * m
  weights = plain * maps * m * hidden + mixtures * (
    maps * m * features + router
  )
  ends = m * (experts.count + (experts.shared > 0))
  biases = plain * ((maps - 1) * hidden + m) + mixtures * (
    (maps - 1) * features + experts.count + ends
  )
  return weights, biases * config.use_bias


def _attention(
  config: DecoderConfig, h: int, k: int, d: int
) -> tuple[int, int, int]:
  """Weights, biases and scales of norms of the attention of one layer."""
  m, latent = config.width, config.latent
  into, out = config.attention_bias, config.attention_output_bias
  into, out = (config.use_bias if x is None else x for x in (into, out))
  if not latent.width:
    norms = {"none": 0, "head": 2 * d, "heads": (h + k) * d}
    return (
      2 * m * h * d + 2 * m * k * d,
      (h + 2 * k) * d * into + m * out,
      norms[config.query_key_norm],
    )

  z, q, r = latent.width, latent.query_width or 0, config.rotary.features or 0
  e = latent.value_width or d - r
  return (
    m * (z + r + q) + z * h * (d - r + e) + (q or m) * h * d + h * e * m,
    (z + r + q) * into + m * out,
    z + q,
  )


def total(parts: dict[str, int]) -> int:
  """The sum of the counts of `decoder_parameters`.

  >>> total({"embedding": 3, "norms": 2})
  5
  """
  return sum(parts.values())
