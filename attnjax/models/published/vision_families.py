"""Tables of published vision transformers; see `families`."""

import functools
from collections.abc import Mapping

from attnjax.models.published.common_rules import PLAIN_NAMES, SIZES
from attnjax.models.published.family import Family
from attnjax.models.published.keys import (
  Biases,
  Choice,
  Fixed,
  Idle,
  Off,
  Same,
)
from attnjax.models.published.places import Place
from attnjax.models.published.vision_keys import (
  ImageSize,
  Labels,
  MlpRatio,
  PatchSize,
)
from attnjax.models.vit import ViT, ViTConfig

__all__ = ["VISION"]

_IMAGES = (
  PatchSize(),
  Same("num_channels", "channels", 3),
  Biases("qkv_bias", ("attention_bias",), True),
)
_FIXED = Fixed(
  (
    ("norm", "layer"),
    ("use_bias", True),
    ("positions", "learned"),
    ("token_position", True),
    # Trained models are read, and of another training nothing is said.
    ("dropout", 0.0),
  )
)


def _places(
  base: str,
  norms: tuple[str, str],
  layers: tuple[Place, ...],
  config: ViTConfig,
) -> tuple[Place, ...]:
  """Places of a model with its norms and feed-forward layers."""
  embeddings, layer = f"{base}embeddings", f"{base}encoder.layer.{{}}"
  of_self = f"{layer}.attention.attention"
  patch = (config.channels, config.patch, config.patch)
  return (
    Place(
      f"{embeddings}.patch_embeddings.projection", ("embed",), inside=patch
    ),
    Place(
      f"{embeddings}.cls_token", ("token",), suffixes=(("token", ""),), ones=2
    ),
    Place(
      f"{embeddings}.position_embeddings",
      ("positions",),
      suffixes=(("positions", ""),),
      ones=1,
    ),
    Place(f"{of_self}.query", ("attention.query",)),
    Place(f"{of_self}.key", ("attention.key",)),
    Place(f"{of_self}.value", ("attention.value",)),
    Place(f"{layer}.attention.output.dense", ("attention.output",)),
    Place(f"{layer}.{norms[0]}", ("attention_norm",)),
    Place(f"{layer}.{norms[1]}", ("feed_forward_norm",)),
    *layers,
    Place(f"{base}layernorm", ("norm",)),
    Place("classifier", ("readout",)),
  )


_VIT = "vit.encoder.layer.{}"
_DINO = "dinov2.encoder.layer.{}"
_LAMBDA = (("scale", ".lambda1"),)


def _vit_places(config: ViTConfig) -> tuple[Place, ...]:
  """Places of a ViT."""
  layers = (
    Place(f"{_VIT}.intermediate.dense", ("feed_forward.up",)),
    Place(f"{_VIT}.output.dense", ("feed_forward.down",)),
  )
  norms = ("layernorm_before", "layernorm_after")
  return _places("vit.", norms, layers, config)


def _dinov2_places(config: ViTConfig) -> tuple[Place, ...]:
  """Places of DINOv2, with gates or without."""
  maps = (
    Place(f"{_DINO}.mlp.fc1", ("feed_forward.up",)),
    Place(f"{_DINO}.mlp.fc2", ("feed_forward.down",)),
  )
  if config.activation == "swiglu":
    both = ("feed_forward.gate", "feed_forward.up")
    maps = (
      Place(f"{_DINO}.mlp.weights_in", both),
      Place(f"{_DINO}.mlp.weights_out", ("feed_forward.down",)),
    )
  scales = (
    Place(f"{_DINO}.layer_scale1", ("attention_scale",), suffixes=_LAMBDA),
    Place(f"{_DINO}.layer_scale2", ("feed_forward_scale",), suffixes=_LAMBDA),
  )
  return _places("dinov2.", ("norm1", "norm2"), (*maps, *scales), config)


_vision = functools.partial(
  Family,
  # Of training, where patches are hidden.
  unused=("embeddings.mask_token",),
  heads=("pooler", "classifier", "decoder"),
  config=ViTConfig,
  model=ViT,
)
_VIT_LABELS = Labels("ViT", "token")
_DINOV2_LABELS = Labels("Dinov2", "token_and_mean")
VISION: Mapping[str, Family] = {
  "vit": _vision(
    "ViTModel",
    (
      *SIZES,
      *_IMAGES,
      ImageSize(),
      Same("layer_norm_eps", "epsilon", 1e-12),
      Choice("hidden_act", "activation", PLAIN_NAMES, "gelu"),
      _FIXED,
      _VIT_LABELS,
      # Of heads of tasks.
      *map(Idle, ("encoder_stride", "pooler_act", "pooler_output_size")),
    ),
    _vit_places,
    base="vit.",
    vocabulary=_VIT_LABELS,
  ),
  "dinov2": _vision(
    "Dinov2Model",
    (
      *SIZES[:3],
      *_IMAGES,
      ImageSize(square=True),
      MlpRatio(PLAIN_NAMES),
      Same("layer_norm_eps", "epsilon", 1e-6),
      Same("layerscale_value", "layer_scale", 1.0),
      _FIXED,
      Fixed((("resample", True),)),
      _DINOV2_LABELS,
      # Both are honoured, for patches are hidden in training alone.
      Off("use_mask_token", (False, True)),
      # Of training, and of features of middle layers.
      *map(Idle, ("drop_path_rate", "apply_layernorm", "stage_names")),
      Idle("reshape_hidden_states"),
      *map(Idle, ("out_features", "out_indices")),
    ),
    _dinov2_places,
    base="dinov2.",
    vocabulary=_DINOV2_LABELS,
  ),
}
