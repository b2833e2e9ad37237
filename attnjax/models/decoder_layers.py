"""Blocks of a decoder whose layers differ: made, and scanned by period.

Layers of one decoder have the same parameters, stacked along a leading axis,
and may differ in mask and position encoding. A scan compiles its body once, so
that its body has to be a whole period of the kinds of layers.
"""

import dataclasses
import functools
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from attnjax.models.block_stack import make_feed_forward
from attnjax.models.decoder_config import DecoderConfig
from attnjax.models.layer_configs import ExpertsConfig
from attnjax.nn import (
  FeedForward,
  LatentAttention,
  MixtureOfExperts,
  MultiHeadAttention,
  TransformerBlock,
)
from attnjax.nn.initializers import fan_in
from attnjax.ops import positions, score_mods
from attnjax.typing import PyTree

__all__ = [
  "make_decoder_block",
  "periods",
  "rotary_of",
  "scan_layers",
  "score_mod_of",
]


def make_decoder_block(
  config: DecoderConfig,
  attend: Callable,
  rngs: nnx.Rngs,
  *,
  dense: bool = False,
) -> TransformerBlock:
  """One block of a decoder, with the encoding of layers without a window.

  Args:
    config: of the decoder.
    attend: the attention to call.
    rngs: Flax NNX random streams; uses "params".
    dense: whether it has no experts where other layers have.
  """
  # 2 depth additions: attention and feed-forward of each block.
  additions = 2 * config.depth
  make = _latent_attention if config.latent.width else _attention
  return TransformerBlock(
    make(config, additions, attend, rngs),
    _feed_forward(config, additions, dense, rngs),
    width=config.width,
    norm=config.norm,
    use_bias=config.use_bias,
    order=config.order,
    epsilon=config.epsilon,
    rngs=rngs,
  )


def _attention(
  config: DecoderConfig, additions: int, attend: Callable, rngs: nnx.Rngs
) -> MultiHeadAttention:
  """The multi-head attention of a block."""
  rotary = config.positions == "rotary"
  bias = config.attention_bias
  return MultiHeadAttention(
    config.width,
    config.heads,
    kv_heads=config.kv_heads,
    head_width=config.head_width,
    use_bias=config.use_bias if bias is None else bias,
    output_bias=(
      config.use_bias
      if config.attention_output_bias is None
      else config.attention_output_bias
    ),
    query_key_norm=config.query_key_norm,
    norm=config.norm,
    epsilon=config.epsilon,
    scale=config.scale,
    sinks=config.sinks,
    position_encoding=config.rotary.encoding() if rotary else None,
    attend=attend,
    output_init=fan_in(1 / additions),
    rngs=rngs,
  )


def _latent_attention(
  config: DecoderConfig, additions: int, attend: Callable, rngs: nnx.Rngs
) -> LatentAttention:
  """The latent attention of a block; `DecoderConfig` has checked the widths."""
  head, turned = config.head_width or 0, config.rotary.features or 0
  rotary = config.positions == "rotary"
  bias = config.attention_bias
  return LatentAttention(
    config.width,
    config.heads,
    latent_width=config.latent.width,
    head_width=head,
    rotary_width=turned,
    value_width=config.latent.value_width or head - turned,
    query_latent_width=config.latent.query_width,
    use_bias=config.use_bias if bias is None else bias,
    # Not the epsilon of the config: that of the published latents is fixed.
    scale=config.scale,
    position_encoding=config.rotary.encoding() if rotary else None,
    attend=attend,
    output_init=fan_in(1 / additions),
    rngs=rngs,
  )


def _feed_forward(
  config: DecoderConfig, additions: int, dense: bool, rngs: nnx.Rngs
) -> FeedForward | MixtureOfExperts:
  """The feed-forward layer of a block, or its mixture of experts."""
  experts = config.experts
  if dense:
    config = dataclasses.replace(
      config, hidden=experts.dense_hidden, experts=ExpertsConfig()
    )
  if dense or not experts.count:
    return make_feed_forward(config, additions, rngs)
  return MixtureOfExperts(
    config.width,
    config.hidden,
    experts=experts.count,
    active=experts.active,
    activation=config.activation,
    use_bias=config.use_bias,
    normalized=experts.normalized,
    scale=experts.scale,
    shared=experts.shared,
    shared_gate=experts.shared_gate,
    output_init=fan_in(1 / additions),
    rngs=rngs,
  )


def rotary_of(
  config: DecoderConfig, kind: str, length: int
) -> positions.Rotary | None:
  """Rotary positions of a layer of some kind; None where it has none.

  Args:
    config: of the model.
    kind: of the layer, one of `config.kinds`.
    length: of the text or the cache, by which some scalings go.

  >>> from attnjax.models import DecoderConfig
  >>> config = DecoderConfig(layers=("full", "full_unrotated"))
  >>> rotary_of(config, "full_unrotated", 5)
  """
  if config.positions != "rotary" or kind.endswith("unrotated"):
    return None
  local = kind.startswith("window")
  return config.rotary.encoding(local=local).of_length(length)


def score_mod_of(config: DecoderConfig) -> score_mods.ScoreMod | None:
  """ALiBi, a softcap, both, or None where there is neither.

  >>> from attnjax.models import DecoderConfig
  >>> score_mod_of(DecoderConfig())
  """
  if config.positions == "alibi":
    bias = score_mods.alibi(positions.alibi_slopes(config.heads))
    if config.softcap is None:
      return bias
    return score_mods.compose(score_mods.softcap(config.softcap), bias)
  return None if config.softcap is None else score_mods.softcap(config.softcap)


@functools.cache
def periods(
  kinds: Sequence[Hashable],
) -> tuple[tuple[tuple[Any, ...], int], ...]:
  """Cuts a row of kinds into repeated patterns, as short together as can be.

  Args:
    kinds: of all layers, a tuple.

  Returns:
    Pairs of a pattern and how often it is repeated.

  >>> periods(("a", "a", "b") * 4 + ("a", "a"))
  ((('a', 'a', 'b'), 4), (('a',), 2))
  >>> periods(("a",) * 9 + ("b",) * 5)
  ((('a',), 9), (('b',), 5))
  """
  # From the end: `best[i]` is what is written for the rest from i on (kinds,
  # then patterns), and its first pattern; of equals the one that covers most.
  count = len(kinds)
  best: list[tuple[int, ...]] = [(0, 0, 0, 0)] * (count + 1)
  for i in reversed(range(count)):
    choices = []
    for size in range(1, count - i + 1):
      turns, pattern = 1, kinds[i : i + size]
      while kinds[i + turns * size : i + (turns + 1) * size] == pattern:
        turns += 1
      written, patterns, *_ = best[i + turns * size]
      choices.append((size + written, 1 + patterns, -size * turns, size))
    best[i] = min(choices)

  found, i = [], 0
  while i < count:
    *_, covered, size = best[i]
    turns = -covered // size
    found.append((tuple(kinds[i : i + size]), turns))
    i += size * turns
  return tuple(found)


def scan_layers(
  layer: Callable,
  x: PyTree,
  stacked: PyTree,
  kinds: tuple[str, ...],
  *,
  stacks: tuple[tuple[str, ...], ...] | None = None,
  unroll: int = 1,
) -> tuple[PyTree, PyTree]:
  """Runs layers one after another; compile time is that of one period.

  Args:
    layer: ``(kind, x, parts) -> (x, extra)``, parts those of one layer.
    x: what the first layer gets.
    stacked: arrays with a leading axis of layers, such as the parameters; or a
      list of the parts of each, which are run without a scan.
    kinds: of the layers.
    stacks: where layers differ in their arrays, the names of the stacks that
      each has a part in; `stacked` has them by name, each with an axis of as
      many layers, and a layer gets its parts by name.
    unroll: layers in one turn of the scan.

  Returns:
    x after the last layer, and what they gave beside it, stacked.

  >>> import jax.numpy as jnp
  >>> step = lambda kind, x, add: (x + add if kind == "a" else x * add, x)
  >>> x, before = scan_layers(step, 1.0, jnp.arange(1.0, 6.0), ("a", "b") * 2
  ...                         + ("a",))
  >>> float(x), before.tolist()
  (33.0, [1.0, 2.0, 4.0, 7.0, 28.0])
  """
  if isinstance(stacked, list):
    given = []
    for kind, parts in zip(kinds, stacked, strict=True):
      x, extra = layer(kind, x, parts)
      given.append(extra)
    return x, jax.tree.map(lambda *all: jnp.stack(all), *given)

  run = layer
  if stacks is None:
    stacked, stacks = {"all": stacked}, (("all",),) * len(kinds)
    run = lambda kind, x, parts: layer(kind, x, parts["all"])
  totals = Counter(name for own in stacks for name in own)

  starts: Counter[str] = Counter()
  extras = []
  for pattern, turns in periods(tuple(zip(kinds, stacks, strict=True))):
    sizes = Counter(name for _, own in pattern for name in own)
    part = {
      name: _part(stacked[name], starts[name], size, turns, totals[name])
      for name, size in sizes.items()
    }
    x, extra = _scan_period(run, x, part, pattern, turns, unroll)
    extras.append(extra)
    starts.update({name: size * turns for name, size in sizes.items()})

  if len(extras) == 1:
    return x, extras[0]
  return x, jax.tree.map(lambda *all: jnp.concatenate(all), *extras)


def _scan_period(layer, x, stacked, pattern, turns: int, unroll: int):
  """One scan, whose body runs the layers of a pattern of kinds and stacks."""
  if len(pattern) == 1:
    return jax.lax.scan(
      functools.partial(layer, pattern[0][0]),
      x,
      stacked,
      length=turns,
      unroll=unroll,
    )
  sizes = Counter(name for _, own in pattern for name in own)

  def body(x, parts):
    extras = []
    used: Counter[str] = Counter()
    for kind, own in pattern:
      one = {}
      for name in own:
        # A stack of which a period has one layer has no axis of places.
        pick = lambda a, i=used[name]: a[i]
        alone = sizes[name] == 1
        one[name] = parts[name] if alone else jax.tree.map(pick, parts[name])
      used.update(own)
      x, extra = layer(kind, x, one)
      extras.append(extra)
    return x, jax.tree.map(lambda *all: jnp.stack(all), *extras)

  each = max(1, unroll // len(pattern))
  x, extras = jax.lax.scan(body, x, stacked, length=turns, unroll=each)
  # Turns and places of a period are layers again.
  flat = lambda a: a.reshape((a.shape[0] * a.shape[1], *a.shape[2:]))
  return x, jax.tree.map(flat, extras)


def _part(stacked, start: int, size: int, turns: int, count: int):
  """Layers `start` to `start + size * turns`, by period if it has several."""

  def part(a):
    # The whole as it is: a slice of all layers would be one more operation.
    a = a if size * turns == count else a[start : start + size * turns]
    return a if size == 1 else a.reshape((turns, size, *a.shape[1:]))

  return jax.tree.map(part, stacked)
