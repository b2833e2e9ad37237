"""Sizes and choices of a `DecoderLM`."""

import dataclasses

from attnjax.config import Config, setting
from attnjax.models.block_stack import block_setting, check_heads
from attnjax.models.layer_configs import ExpertsConfig, LatentConfig
from attnjax.nn.transformer_block import ORDERS
from attnjax.ops import rotary_scaling
from attnjax.ops.activations import ACTIVATIONS
from attnjax.ops.positions import Rotary

__all__ = [
  "DecoderConfig",
  "RotaryConfig",
]

POSITIONS = ("rotary", "learned", "sinusoidal", "alibi", "none")
SCALINGS = ("none", "linear", "dynamic", "yarn", "llama3", "longrope")
LAYERS = ("full", "window", "full_unrotated", "window_unrotated")


@dataclasses.dataclass(frozen=True)
class RotaryConfig(Config):
  """Rotary positions: which features turn, how fast, and in which layers.

  The scalings are those of `attnjax.ops.rotary_scaling`, which names their
  sources.
  """

  base: float = setting(10_000.0, "of the wavelengths", above=1)
  local_base: float | None = setting(
    None, "base of windowed layers, then without scaling; none: base", above=1
  )
  features: int | None = setting(
    None, "features of a head that turn, even; none: all", at_least=2
  )
  interleaved: bool = setting(
    False, "pair features 2i and 2i + 1, and not i and i + features / 2"
  )
  scaling: str = setting(
    "none", "of the frequencies for long texts", choices=SCALINGS
  )
  factor: float = setting(
    1.0, "of every scaling but longrope: texts grow by it", at_least=1
  )
  original_length: int = setting(
    2048, "tokens of the texts in training, for scalings", at_least=1
  )
  gain: float | None = setting(
    None,
    "of yarn and longrope: sines and cosines times it; none: by the factor",
    above=0,
  )
  fast: float = setting(
    32.0, "of yarn: turns above which a pair stays", above=0
  )
  slow: float = setting(
    1.0, "of yarn: turns below which a pair has the factor", above=0
  )
  whole: bool = setting(True, "of yarn: the ramp ends at whole pairs")
  low: float = setting(
    1.0, "of llama3: turns below which a pair has the factor", above=0
  )
  high: float = setting(
    4.0, "of llama3: turns above which a pair stays", above=0
  )
  short: tuple[float, ...] = setting(
    (), "of longrope: a factor a pair, of texts up to original_length", above=0
  )
  long: tuple[float, ...] = setting(
    (), "of longrope: a factor a pair, of longer texts", above=0
  )

  def encoding(self, *, local: bool = False) -> Rotary:
    """The position encoding of a layer; `local` if it has a window.

    >>> RotaryConfig(local_base=100.0).encoding(local=True).base
    100.0
    """
    apart = local and self.local_base is not None
    return Rotary(
      base=self.local_base if apart else self.base,  # type: ignore[arg-type]
      interleaved=self.interleaved,
      features=self.features,
      scaling=None if apart else self._scaling(),
    )

  def _scaling(self) -> rotary_scaling.RotaryScaling | None:
    """The scaling of the frequencies, or None."""
    factor, length = self.factor, self.original_length
    makers = {
      "none": lambda: None,
      "linear": lambda: rotary_scaling.Linear(factor),
      "dynamic": lambda: rotary_scaling.DynamicNTK(factor, length),
      "yarn": lambda: rotary_scaling.Yarn(
        factor, length, self.fast, self.slow, self.gain, self.whole
      ),
      "llama3": lambda: rotary_scaling.Llama3(
        factor, length, self.low, self.high
      ),
      "longrope": lambda: rotary_scaling.LongRope(
        self.short, self.long, length, self.gain or 1.0
      ),
    }
    return makers[self.scaling]()

  def __post_init__(self):
    super().__post_init__()
    if self.features is not None and self.features % 2:
      raise ValueError(
        f"rotary.features must be even, for pairs turn, got {self.features}"
      )
    if self.scaling == "llama3" and not self.low < self.high:
      raise ValueError(
        f"rotary.low must be below rotary.high, got {self.low} and {self.high}"
      )


@dataclasses.dataclass(frozen=True)
class DecoderConfig(Config):
  """Sizes and choices of a `DecoderLM`.

  >>> config = DecoderConfig(depth=4, window=8, layers=("window", "full"))
  >>> config.kinds
  ('window', 'full', 'window', 'full')

  Reference:
    Grouped heads: Ainslie et al., 2023, arXiv 2305.13245; windows: Beltagy et
    al., "Longformer", 2020, arXiv 2004.05150, and by turns with full layers:
    Gemma Team, "Gemma 2", 2024, arXiv 2408.00118, which has both softcaps too;
    layers without positions: Yang et al., "RoPE to NoPE and Back Again", 2025,
    arXiv 2501.18795; an offset of learned positions: Zhang et al., "OPT", 2022,
    arXiv 2205.01068; scaled embeddings: Vaswani et al., 2017, arXiv 1706.03762,
    section 3.4. Orders of norms, activations, query-key norms, sinks, rotary
    positions and ALiBi name theirs in `nn.TransformerBlock`, `nn.FeedForward`,
    `multi_head_attention`, `normalizers.softmax` and `positions`; latents and
    layers without experts in `LatentConfig` and `ExpertsConfig`.
  """

  width: int = block_setting("width", 256)
  depth: int = block_setting("depth", 4)
  heads: int = setting(
    4, "query heads H of a block; divide the width", at_least=1
  )
  kv_heads: int | None = setting(
    None, "key/value heads K, a divisor of the heads; none: as many", at_least=1
  )
  head_width: int | None = setting(
    None,
    "width D of a query and a key, features; none: width / heads",
    at_least=1,
  )
  latent: LatentConfig = LatentConfig()
  hidden: int = block_setting("hidden", 1024)
  activation: str = setting(
    "gelu", "feed-forward nonlinearity", choices=ACTIVATIONS
  )
  experts: ExpertsConfig = ExpertsConfig()
  norm: str = setting(
    "rms", "normalisation", choices=("rms", "rms_plus_one", "layer")
  )
  epsilon: float = setting(
    1e-6, "added to the mean square or the variance in norms", above=0
  )
  order: str = setting(
    "pre", "where the norms of a block stand", choices=ORDERS
  )
  use_bias: bool = block_setting("use_bias", False)
  attention_bias: bool | None = setting(
    None, "biases of queries, keys and values; none: as use_bias"
  )
  attention_output_bias: bool | None = setting(
    None, "bias of the attention's output map; none: as use_bias"
  )
  query_key_norm: str = setting(
    "none",
    "norm of queries and keys: none, of each head, or over all heads",
    choices=("none", "head", "heads"),
  )
  scale: float | None = setting(
    None, "of the logits q · k; none: 1 / sqrt(head width)", above=0
  )
  softcap: float | None = setting(
    None, "attention logits stay within ± this, by tanh; none: free", above=0
  )
  sinks: bool = setting(
    False, "a learned logit a head that takes weight from the keys"
  )
  positions: str = setting(
    "rotary", "how the model knows positions", choices=POSITIONS
  )
  rotary: RotaryConfig = RotaryConfig()
  window: int | None = setting(
    None, "positions before its own that a query sees; none: all", at_least=0
  )
  layers: tuple[str, ...] = setting(
    (),
    "kinds of attention, repeated over the depth; empty: all windowed if there"
    " is a window, else all full",
    choices=LAYERS,
  )
  max_length: int = setting(
    2048,
    "positions that a learned table holds; no other kind has a limit",
    at_least=1,
  )
  position_offset: int = setting(
    0, "rows of a learned table before that of position 0", at_least=0
  )
  embedding_scale: float = setting(
    1.0, "token embeddings are multiplied by it", above=0
  )
  logits_softcap: float | None = setting(
    None, "logits of tokens stay within ± this, by tanh; none: free", above=0
  )
  tied: bool = setting(True, "read out by the table that embeds")
  remat: bool = setting(
    False, "recompute a block's activations in the backward pass"
  )
  unroll: int = block_setting("unroll", 1)

  def __post_init__(self):
    super().__post_init__()
    if self.head_width is None:
      check_heads(self, ", or give head_width")
    # K = H is multi-head attention, K = 1 multi-query, else grouped-query.
    if self.kv_heads is not None and self.heads % self.kv_heads:
      raise ValueError(
        f"model: kv_heads={self.kv_heads} must divide heads={self.heads}"
      )

    width = self.head_width or self.width // self.heads
    turned = width if self.rotary.features is None else self.rotary.features
    if self.positions == "rotary" and (turned % 2 or turned > width):
      raise ValueError(
        f"model: rotary positions turn pairs of features, so the width of a"
        f" head must be even, got {width}, or an even rotary.features up to it,"
        f" got {self.rotary.features}"
      )
    self.experts.check_depth(self.depth)
    if self.latent.width:
      self.latent.check_fits(self)
    windowed = any(kind.startswith("window") for kind in self.layers)
    if self.window is None and windowed:
      raise ValueError(
        f"model: window must be given where layers has windows, got"
        f" {self.layers}"
      )

  @property
  def kinds(self) -> tuple[str, ...]:
    """The kind of attention of every layer, from first to last.

    >>> DecoderConfig(depth=3, window=5, layers=("window", "full")).kinds
    ('window', 'full', 'window')
    """
    one = "full" if self.window is None else "window"
    pattern = self.layers or (one,)
    return tuple(pattern[i % len(pattern)] for i in range(self.depth))
