"""Settings of the parts of a layer: mixtures of experts, latent attention."""

import dataclasses
from typing import Any

from attnjax.config import Config, setting

__all__ = ["ExpertsConfig", "LatentConfig"]


@dataclasses.dataclass(frozen=True)
class ExpertsConfig(Config):
  """A mixture of experts in place of the feed-forward layers.

  Each expert has the `hidden` features and the activation of the decoder, and
  biases by `use_bias`; see `nn.MixtureOfExperts`. Layers named in `dense` have
  an ordinary feed-forward layer instead.

  Reference:
    Layers without experts: Dai et al., "DeepSeekMoE", 2024, arXiv 2401.06066,
    and Qwen Team, "Qwen1.5-MoE", 2024.
  """

  count: int = setting(0, "experts X of a layer; 0: no mixture", at_least=0)
  active: int = setting(2, "experts A that a token is sent to", at_least=1)
  normalized: bool = setting(
    True, "weights of a token sum to 1, and not those of all experts"
  )
  scale: float = setting(1.0, "of the weights", above=0)
  shared: int = setting(
    0,
    "features of an expert that every token goes through; 0: none",
    at_least=0,
  )
  shared_gate: bool = setting(
    False, "the shared expert's output is times a sigmoid of its input"
  )

  dense: tuple[int, ...] = setting(
    (), "layers without experts, by number from 0", at_least=0
  )
  dense_hidden: int = setting(
    1024, "features between the maps of layers without experts", at_least=1
  )

  def __post_init__(self):
    super().__post_init__()
    if [*self.dense] != sorted({*self.dense}) or (
      self.dense and not self.count
    ):
      raise ValueError(
        "experts.dense must be numbers of layers in order, each once, of a"
        f" model with experts, got {self.dense} and experts.count={self.count}"
      )
    if self.count and self.active > self.count:
      raise ValueError(
        f"experts.active must be at most experts.count={self.count}, got"
        f" {self.active}"
      )

  def check_depth(self, depth: int) -> None:
    """Raises ValueError unless `dense` leaves one of the layers its experts.

    >>> ExpertsConfig(count=3, dense=(0,)).check_depth(2)
    """
    if self.dense and not max(self.dense) < depth > len(self.dense):
      raise ValueError(
        f"experts.dense must be below depth={depth} and leave a layer with"
        f" experts, got {self.dense}"
      )


@dataclasses.dataclass(frozen=True)
class LatentConfig(Config):
  """Latent attention in place of multi-head attention; see `ops.latent`.

  A query and a key have `head_width` features, of which the last
  `rotary.features` turn and are shared by the keys of all heads.

  Reference:
    DeepSeek-AI, "DeepSeek-V2", 2024, arXiv 2405.04434, section 2.1.
  """

  width: int = setting(
    0, "Z of the latent of keys and values; 0: no latent", at_least=0
  )
  query_width: int | None = setting(
    None, "Q of the latent of queries; none: none", at_least=1
  )
  value_width: int | None = setting(
    None,
    "E of a value; none: the features of a key that do not turn",
    at_least=1,
  )

  def check_fits(self, config: Any) -> None:
    """Raises ValueError unless the rest of a config can be had with latents."""
    turned, width = config.rotary.features, config.head_width
    if turned is None or width is None or not turned < width:
      raise ValueError(
        "model: with latent.width both head_width and rotary.features must be"
        f" given, the second the smaller, got {width} and {turned}"
      )
    biases = (config.attention_bias, config.attention_output_bias)
    if config.kv_heads not in (None, config.heads) or biases[0] != biases[1]:
      raise ValueError(
        f"model: with latent.width kv_heads must be heads={config.heads} and"
        " attention_bias that of the output, got"
        f" kv_heads={config.kv_heads} and {biases}"
      )
    if config.sinks or config.query_key_norm != "none":
      raise ValueError(
        "model: with latent.width there are no sinks and no query_key_norm, got"
        f" {config.sinks} and {config.query_key_norm!r}"
      )
