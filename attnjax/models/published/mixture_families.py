"""Published decoders some of whose layers have no experts: Qwen, DeepSeek.

Their places follow the config, for layers without experts are a stack of their
own.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

from attnjax.models.decoder_config import DecoderConfig
from attnjax.models.published.decoder_places import (
  FEED_FORWARD,
  LAYER,
  PRE_NORMS,
  QWEN_MOE,
  TABLES,
  mixture,
)
from attnjax.models.published.keys import Idle, Keys, Off, Same
from attnjax.models.published.places import Place
from attnjax.models.published.rope_keys import Rope

__all__ = ["DEEPSEEK_RULES", "QWEN_EXPERTS", "deepseek_places", "qwen_places"]

_ROUTED_WIDTH = Same("moe_intermediate_size", "hidden")


@dataclasses.dataclass(frozen=True)
class DenseLayers:
  """Layers without experts, by a list and a period; their width."""

  # Of the rule for a width of all layers, which this one replaces.
  key: str = "intermediate_size"

  def read(self, keys: Keys) -> dict[str, Any]:
    """Numbers of the layers, and the features of each."""
    step = keys.get("decoder_sparse_step", 1)
    named = keys.get("mlp_only_layers", [])
    return _dense(
      keys,
      lambda i: i in named or bool((i + 1) % step),
    )

  def write(self, config: DecoderConfig) -> dict[str, Any]:
    """The list."""
    dense = [*config.experts.dense]
    listed = {"decoder_sparse_step": 1, "mlp_only_layers": dense}
    return listed | _width(config, self.key)


@dataclasses.dataclass(frozen=True)
class DenseFirst:
  """The first layers have no experts; their width."""

  key: str = "intermediate_size"

  def read(self, keys: Keys) -> dict[str, Any]:
    """Numbers of the layers, and the features of each."""
    count = keys.get("first_k_dense_replace", 0)
    return _dense(keys, lambda i: i < count)

  def write(self, config: DecoderConfig) -> dict[str, Any]:
    """How many: `save` compares what is read again."""
    count = {"first_k_dense_replace": len(config.experts.dense)}
    return count | _width(config, self.key)


def _dense(keys: Keys, has_none: Callable[[int], bool]) -> dict[str, Any]:
  """Leaves of the layers without experts."""
  dense = tuple(filter(has_none, range(keys.need("num_hidden_layers"))))
  width = keys.get("intermediate_size")
  # Where every layer has experts the width is in published files all the same.
  return {"experts.dense": dense} | (
    {"experts.dense_hidden": width} if dense else {}
  )


def _width(config: DecoderConfig, key: str) -> dict[str, Any]:
  """The width of layers without experts, if there are any."""
  return {key: config.experts.dense_hidden} if config.experts.dense else {}


@dataclasses.dataclass(frozen=True)
class SharedExperts:
  """Shared experts, counted by the width of a routed one: together one."""

  def read(self, keys: Keys) -> dict[str, Any]:
    """Features of all of them."""
    width = keys.need("moe_intermediate_size")
    return {"experts.shared": keys.get("n_shared_experts", 2) * width}

  def write(self, config: DecoderConfig) -> dict[str, Any]:
    """How many: `save` compares what is read again."""
    return {"n_shared_experts": config.experts.shared // config.hidden}


@dataclasses.dataclass(frozen=True)
class LatentWidths:
  """Rotary positions of the shared key, and the scale of the logits.

  Where YaRN lengthens texts the logits grow by the square of 0.1 m ln(factor)
  + 1, m = `mscale_all_dim`.
  """

  rope: Rope = Rope()
  turned: str = "qk_rope_head_dim"
  plain: str = "qk_nope_head_dim"

  def read(self, keys: Keys) -> dict[str, Any]:
    """Leaves of `rotary`, `head_width` and `scale`."""
    turned, plain = keys.get(self.turned, 64), keys.get(self.plain, 128)
    inner = Keys(keys.values | {"head_dim": turned}, keys.model_type)
    found = self.rope.read(inner)
    keys.asked |= inner.asked
    given = {
      **(keys.get("rope_scaling") or {}),
      **(keys.get("rope_parameters") or {}),
    }

    scale, power = None, given.get("mscale_all_dim")
    if power and found["rotary.scaling"] == "yarn":
      gain = 1 + 0.1 * power * math.log(found["rotary.factor"])
      scale = (turned + plain) ** -0.5 * gain**2
    return found | {
      "rotary.features": turned,
      "rotary.interleaved": True,
      "head_width": turned + plain,
      "scale": scale,
    }

  def write(self, config: DecoderConfig) -> dict[str, Any]:
    """The widths and `rope_parameters`."""
    width = config.head_width or config.width // config.heads
    turned = config.rotary.features or width
    found = self.rope.write(config)
    rope = found["rope_parameters"]
    # All features of the shared key turn.
    rope.pop("partial_rotary_factor", None)
    if config.scale is not None and config.rotary.factor > 1:
      gain = math.sqrt(config.scale * width**0.5)
      power = (gain - 1) / (0.1 * math.log(config.rotary.factor))
      rope["mscale_all_dim"] = round(power, 9)
    return found | {self.turned: turned, self.plain: width - turned}


QWEN_EXPERTS = (
  _ROUTED_WIDTH,
  Same("num_experts", "experts.count", other="num_local_experts"),
  Same("num_experts_per_tok", "experts.active"),
  Same("norm_topk_prob", "experts.normalized", False),
  DenseLayers(),
)
# Beside those of a Llama.
DEEPSEEK_RULES = (
  LatentWidths(),
  # The library sets them by the two widths above.
  Idle("head_dim"),
  Idle("qk_head_dim"),
  Same("kv_lora_rank", "latent.width", 512),
  Same("v_head_dim", "latent.value_width", 128),
  _ROUTED_WIDTH,
  Same("n_routed_experts", "experts.count", 64),
  Same("num_experts_per_tok", "experts.active"),
  Same("routed_scaling_factor", "experts.scale", 1.0),
  SharedExperts(),
  DenseFirst(),
  Off("mlp_bias", (False,)),
  Off("moe_layer_freq", (1,)),
  Off("scoring_func", ("softmax",)),
  Off("topk_method", ("greedy",)),
  Off("norm_topk_prob", (False,)),
  # Of choosing within groups, which "greedy" does not, and of training.
  Idle("n_group"),
  Idle("topk_group"),
  Idle("aux_loss_alpha"),
  Idle("seq_aux"),
)


def qwen_places(config: DecoderConfig) -> tuple[Place, ...]:
  """Places of a mixture of Qwen whose layers may be without experts.

  >>> from attnjax.models import DecoderConfig
  >>> qwen_places(DecoderConfig())[0].published
  'model.embed_tokens'
  """
  each = tuple(p for p in QWEN_MOE if "mlp" not in p.published)
  experts = tuple(p for p in QWEN_MOE if "mlp" in p.published)
  return _by_stack(config, each, experts)


_ATTENTION = f"{LAYER}.self_attn"
_SHARED = f"{LAYER}.mlp.shared_experts"
_DEEPSEEK = (
  *TABLES,
  *PRE_NORMS,
  Place(
    f"{_ATTENTION}.kv_a_proj_with_mqa",
    ("attention.latent", "attention.rotary_key"),
  ),
  Place(f"{_ATTENTION}.kv_a_layernorm", ("attention.latent_norm",)),
  Place(
    f"{_ATTENTION}.kv_b_proj", ("attention.key", "attention.value"), by="head"
  ),
  Place(f"{_ATTENTION}.o_proj", ("attention.output",)),
)
_DEEPSEEK_EXPERTS = (
  *mixture(f"{LAYER}.mlp", "gate_proj", "up_proj", "down_proj"),
  Place(f"{_SHARED}.gate_proj", ("feed_forward.shared.gate",)),
  Place(f"{_SHARED}.up_proj", ("feed_forward.shared.up",)),
  Place(f"{_SHARED}.down_proj", ("feed_forward.shared.down",)),
)


def deepseek_places(config: DecoderConfig) -> tuple[Place, ...]:
  """Places of DeepSeek-V2, whose queries may come from a latent.

  >>> from attnjax.models import DecoderConfig
  >>> [p.published for p in deepseek_places(DecoderConfig())][-1]
  'model.layers.{}.mlp.shared_experts.down_proj'
  """
  if config.latent.query_width is None:
    queries: tuple[Place, ...] = (
      Place(f"{_ATTENTION}.q_proj", ("attention.query",)),
    )
  else:
    queries = (
      Place(f"{_ATTENTION}.q_a_proj", ("attention.query_latent",)),
      Place(f"{_ATTENTION}.q_a_layernorm", ("attention.query_norm",)),
      Place(f"{_ATTENTION}.q_b_proj", ("attention.query",)),
    )
  return _by_stack(config, (*_DEEPSEEK, *queries), _DEEPSEEK_EXPERTS)


def _by_stack(config: DecoderConfig, each, experts) -> tuple[Place, ...]:
  """Places of all layers, those without experts being another stack."""
  dense = config.experts.dense
  if not dense:
    return (*each, *experts)
  rest = tuple(i for i in range(config.depth) if i not in dense)
  tables = [p for p in each if "{}" not in p.published]
  blocks = [p for p in each if "{}" in p.published]
  of = lambda places, stack, layers: [
    dataclasses.replace(p, stack=stack, layers=layers) for p in places
  ]
  return (
    *tables,
    *of([*blocks, *experts], "blocks", rest),
    *of([*blocks, *FEED_FORWARD], "dense_blocks", dense),
  )
