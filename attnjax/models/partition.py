"""Partition rules: how the parameters of each model are sharded over a mesh.

A rule is `(regex of a path, spec, spec, ...)`. The first spec that divides the
parameter is taken; a second one is for sizes that `tensor` does not divide (a
vocabulary of 257 bytes, few key heads). `fsdp` shards the model's width,
`tensor` heads, hidden features or the vocabulary: there is then one all-reduce
over `tensor` after each map back to the width, forward and backward.

Reference:
  Shoeybi et al., "Megatron-LM: Training Multi-Billion Parameter Language Models
  Using Model Parallelism", 2019, arXiv 1909.08053, section 3; fully sharded
  data parallelism: Rajbhandari et al., "ZeRO", 2019, arXiv 1910.02054.
"""

from typing import Any

from jax.sharding import PartitionSpec as P

__all__ = [
  "DECODER",
  "ENCODER_DECODER",
  "MATRICES",
  "MEMORY",
  "VISION",
  "partition_rules",
]

_WORDS = (
  (r"(position|kind)_table\.embedding", P(None, "fsdp")),
  (r"(embed|readout)\.embedding", P("tensor", "fsdp"), P(None, "fsdp")),
)
_ATTENTION = (
  # Heads are sharded and their features are not: a logit needs all features of
  # a head, and then no device waits for another within attention.
  (r"attention\.query\.kernel", P("fsdp", "tensor", None)),
  (r"attention\.query\.bias", P("tensor", None)),
  (
    r"attention\.(key|value)\.kernel",
    P("fsdp", "tensor", None),
    P("fsdp", None, None),
  ),
  (r"attention\.(key|value)\.bias", P("tensor", None), P()),
  # What heads share is not divided among them.
  (r"attention\.(query_latent|latent|rotary_key)\.kernel", P("fsdp", None)),
  # Contracts the sharded heads: its result is what is summed over `tensor`.
  (r"attention\.output\.kernel", P("tensor", None, "fsdp")),
)
_FEED_FORWARD = (
  # Of a mixture every expert is divided so; the axis of experts is not.
  (r"feed_forward\.(shared\.)?(up|gate)\.kernel", P("fsdp", "tensor")),
  (r"feed_forward\.(shared\.)?(up|gate)\.bias", P("tensor")),
  (r"feed_forward\.(shared\.)?down\.kernel", P("tensor", "fsdp")),
  (r"feed_forward\.(router|shared_gate)\.kernel", P("fsdp", None)),
)

# Norms, biases of the width, scalars, the counts of an optimizer.
_THE_REST = (("", P()),)

# Biases of relative positions are heads times a few buckets: all have them.
ENCODER_DECODER = (
  (r"(source|target)_places\.embedding", P(None, "fsdp")),
  *_WORDS,
  *_ATTENTION,
  *_FEED_FORWARD,
  *_THE_REST,
)

# The map of patches and the table of positions lead to the width.
VISION = (
  (r"\bembed\.kernel", P(None, "fsdp")),
  (r"\bpositions\b", P(None, "fsdp")),
  # Classes may be any number.
  (r"\breadout\.kernel", P("fsdp", "tensor"), P("fsdp", None)),
  *_ATTENTION,
  *_FEED_FORWARD,
  *_THE_REST,
)

DECODER = (*_WORDS, *_ATTENTION, *_FEED_FORWARD, *_THE_REST)

# `project` flattens the heads of queries, keys and values into one axis, which
# `tensor` cannot shard; the initial weights of a memory have an axis of heads.
MEMORY = (
  *_WORDS,
  *_ATTENTION,
  (r"memory\.(project|gates|output_gate)\.kernel", P("fsdp", None)),
  (r"memory\.output\.kernel|gated\.output\.kernel", P(None, "fsdp")),
  (r"memory\.start\.", P("tensor", None, None), P()),
  # F may be any number, where models are compared at equal parameter counts.
  (r"feed_forward\.(up|gate)\.kernel", P("fsdp", "tensor"), P("fsdp", None)),
  (r"feed_forward\.down\.kernel", P("tensor", "fsdp"), P(None, "fsdp")),
  *_THE_REST,
)

# Which axes of a kernel are summed over and which come out, counted from the
# last: what an optimizer must know that takes weights for matrices.
MATRICES = (
  (r"attention\.(query|key|value)\.kernel", (-3,), (-2, -1)),
  (r"attention\.(query_latent|latent|rotary_key)\.kernel", (-2,), (-1,)),
  (r"attention\.output\.kernel", (-3, -2), (-1,)),
  (r"(feed_forward(\.shared)?|memory|gated)\.\w+\.kernel", (-2,), (-1,)),
  (r"(inputs|state)_kernel", (-3,), (-1,)),  # one for each of three gates
)

_TABLES = {
  "DecoderLM": DECODER,
  "Encoder": DECODER,
  "EncoderDecoder": ENCODER_DECODER,
  "ViT": VISION,
  "MemoryLM": MEMORY,
  # So few that each device has them all.
  "LoraAdapters": _THE_REST,
}


def partition_rules(model: Any) -> tuple[tuple[Any, ...], ...] | None:
  """The partition rules of a model; None for a model that has none.

  Args:
    model: a module of this package, of arrays or of shapes.

  >>> from flax import nnx
  >>> from attnjax.models import DecoderConfig, DecoderLM
  >>> config = DecoderConfig(width=8, depth=1, heads=2, hidden=16)
  >>> model = DecoderLM(config, 11, rngs=nnx.Rngs(0))
  >>> partition_rules(model) is DECODER
  True
  """
  return _TABLES.get(type(model).__name__)
