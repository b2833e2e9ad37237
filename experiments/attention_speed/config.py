"""Configs and presets of the comparison of speeds."""

import dataclasses

from attnjax.config import Config, setting
from attnjax.data import TextConfig
from attnjax.models import DecoderConfig
from experiments.attention_speed.cases import CASES
from experiments.timing.rounds import RoundsConfig

__all__ = [
  "CONTENDERS",
  "GPUS",
  "GPU_CASES",
  "GPU_CONTENDERS",
  "MODEL_CONTENDERS",
  "PRESETS",
  "TPUS",
  "AttentionSpeedConfig",
  "GpuCostConfig",
  "GpuSpeedConfig",
  "ModelSpeedConfig",
  "TileCostConfig",
  "TpuCostConfig",
  "integers",
  "listed",
]

# The first is ours: the results and times of the others are compared with it.
CONTENDERS = ("attnjax", "jax.nn", "flax", "torch_sdpa", "torch_flex")
MODEL_CONTENDERS = ("attnjax", "attnjax_reference", "flax", "torch_eager")
PASSES = ("forward", "forward_backward")
TPU_PASSES = ("forward", "backward", "jvp", "second_order")
TPU_CASES = (
  *("causal", "full", "window", "documents"),
  *("softcap_alibi", "relative_bias"),
)
GPU_CASES = ("causal", "full", "window", "documents", "softcap_alibi")
GPU_CONTENDERS = (
  *("fused", "blockwise", "cudnn", "tokamax"),
  *("torch_sdpa", "torch_flex"),
)
# Cases of the conformance suite that together have each kind of kernel.
_CONFORMANCE = (
  "plain/plain,dtype/bfloat16,dtype/float16,mask/causal,mask/window,"
  "bias/T S,segments/packed and causal,length/T=127 S=129,heads/H=6 K=1,"
  "score_mod/softcap then alibi,normalizer/sink,aux/entropy,"
  "empty rows/by a mask,second/causal with bias and score mod,vmap/query,"
  "dropout/as the reference"
)
GPUS = ("a100", "h100", "b200")
TPUS = ("v5e", "v5p", "v6e", "tpu7x")
# Those of the experiment language_model in its preset tiny.
_MODEL = DecoderConfig(
  width=128,
  depth=4,
  heads=4,
  hidden=512,
  activation="squared_relu",
  unroll=4,
)
_DATA = TextConfig(corpus="english", length=128, batch_size=16)


def listed(text: str, name: str, allowed: tuple[str, ...]) -> tuple[str, ...]:
  """Splits a text at its commas into allowed names.

  Raises:
    ValueError: a name is not allowed or comes twice, or there is none.
  """
  names = tuple(part.strip() for part in text.split(",") if part.strip())
  for each in names:
    if each not in allowed:
      raise ValueError(
        f"{name}: expected some of {','.join(allowed)}, got {each!r}"
      )
  _check_each_once(names, name)
  return names


def integers(text: str, name: str, *, distinct: bool = True) -> tuple[int, ...]:
  """Splits a text at its commas into positive integers."""
  try:
    values = tuple(int(part) for part in text.split(",") if part.strip())
  except ValueError:
    raise ValueError(
      f"{name}: expected integers with commas between them, got {text!r}"
    ) from None

  for value in values:
    if value < 1:
      raise ValueError(f"{name}: expected integers >= 1, got {value}")
  if distinct:
    _check_each_once(values, name)
  return values


def _check_each_once(values: tuple, name: str) -> None:
  """Raises a ValueError where a list is empty or has a value twice."""
  if not values or len(set(values)) < len(values):
    raise ValueError(f"{name}: name at least one, and each once")


@dataclasses.dataclass(frozen=True)
class AttentionSpeedConfig(Config):
  """Which attention calls are measured, and of whom. All is float32."""

  lengths: str = setting("256,512", "T, tokens; commas between them")
  head_widths: str = setting("64", "D, features; commas between them")
  cases: str = setting(",".join(CASES), "what is visible; commas between them")
  passes: str = setting(",".join(PASSES), "commas between them")
  contenders: str = setting(",".join(CONTENDERS), "commas between them")
  implementation: str | None = setting(
    None, "of attnjax.attend; none: the one it chooses"
  )
  jvp: bool = setting(True, "measure attnjax's jvp beside its forward pass")
  heads: int = setting(8, "H", at_least=1)
  batch: int = setting(1, "B", at_least=1)
  devices: int = setting(
    1, "devices among which JAX's contenders divide the heads", at_least=1
  )
  window: int = setting(
    256, "positions seen in case window, its own counted", at_least=1
  )
  memory_limit_gb: float = setting(
    8.0, "a call that needs more is not run but says so, 10^9 bytes", above=0
  )
  matmul_size: int = setting(
    2048, "rows of the square product that tells the machine's rate", at_least=1
  )
  seed: int = setting(
    0, "of the inputs and the documents", at_least=0, below=2**32
  )
  rounds: RoundsConfig = RoundsConfig()

  def __post_init__(self):
    super().__post_init__()
    listed(self.cases, "cases", CASES)
    listed(self.passes, "passes", PASSES)
    listed(self.contenders, "contenders", CONTENDERS)
    integers(self.lengths, "lengths")
    if self.heads % self.devices:
      raise ValueError(
        f"devices must divide heads, got {self.devices} for {self.heads}"
      )
    integers(self.head_widths, "head_widths")

  def sizes(self) -> list[tuple[int, int]]:
    """Every (head width, length)."""
    widths = integers(self.head_widths, "head_widths")
    lengths = integers(self.lengths, "lengths")
    return [(width, length) for width in widths for length in lengths]


@dataclasses.dataclass(frozen=True)
class ModelSpeedConfig(Config):
  """Loss and gradient of the language model, on its first batch."""

  model: DecoderConfig = _MODEL
  data: TextConfig = _DATA
  contenders: str = setting(",".join(MODEL_CONTENDERS), "commas between them")
  implementation: str | None = setting(
    None, "of attnjax.attend for `attnjax`; none: the one it chooses"
  )
  memory_limit_gb: float = setting(
    8.0, "a step that needs more is not run but says so, 10^9 bytes", above=0
  )
  seed: int = setting(0, "of the parameters", at_least=0, below=2**32)
  rounds: RoundsConfig = RoundsConfig(seconds=60.0)

  def __post_init__(self):
    super().__post_init__()
    listed(self.contenders, "contenders", MODEL_CONTENDERS)


@dataclasses.dataclass(frozen=True)
class TileCostConfig(Config):
  """Sizes of tiles whose times are measured, to fit what a tile costs."""

  length: int = setting(1024, "T, tokens of the call that is cut", at_least=1)
  heads: int = setting(8, "H; tiles have each divisor of it", at_least=1)
  head_widths: str = setting("16,64,128", "D, features; commas between them")
  sizes: str = setting(
    "128,256,512,1024", "of blocks of queries and of keys; commas between them"
  )
  calls: int = setting(5, "the least time of so many counts", at_least=1)
  seed: int = setting(0, "of the inputs", at_least=0, below=2**32)

  def __post_init__(self):
    super().__post_init__()
    integers(self.head_widths, "head_widths")
    integers(self.sizes, "sizes")


@dataclasses.dataclass(frozen=True)
class TpuCostConfig(Config):
  """Static cost on TPUs that are not here. All is bfloat16."""

  chips: str = setting(",".join(TPUS), "commas between them")
  cases: str = setting(",".join(TPU_CASES), "commas between them")
  passes: str = setting(",".join(TPU_PASSES), "commas between them")
  length: int = setting(4096, "T, tokens", at_least=128)
  long: int = setting(
    16384,
    "T of the three cases that are repeated for it; 0 for none",
    at_least=0,
  )
  heads: int = setting(8, "H", at_least=1)
  blocks: str = setting(
    "1024x1024x512,1024x1024x256",
    "queries x keys x keys at once, of peers, of which the best count;"
    " commas between them",
  )
  window_blocks: str = setting(
    "1024x1024x512,512x512x512,512x1024x512", "the same of windows"
  )
  backward_blocks: str = setting(
    "1024x1024x1024,1024x1024x512", "the same of backward passes"
  )
  seconds: float = setting(
    600.0, "of one compilation, at most; the call then has no cost", above=0
  )

  def __post_init__(self):
    super().__post_init__()
    listed(self.chips, "chips", TPUS)
    listed(self.cases, "cases", TPU_CASES)
    listed(self.passes, "passes", TPU_PASSES)
    self.sizes("full", "forward")
    self.sizes("window", "forward")
    self.sizes("full", "backward")

  def sizes(self, case: str, kind: str) -> list[tuple[int, int, int]]:
    """The blocks that a peer is compiled with, for a case and a pass."""
    name, text = "blocks", self.blocks
    if case == "window":
      name, text = "window_blocks", self.window_blocks
    elif kind == "backward":
      name, text = "backward_blocks", self.backward_blocks

    found = [
      integers(part.replace("x", ","), name, distinct=False)
      for part in text.split(",")
    ]
    if any(len(sizes) != 3 for sizes in found):
      raise ValueError(
        f"{name}: expected three sizes with an x between them, such as"
        f" 1024x1024x512, got {text!r}"
      )
    return [(a, b, c) for a, b, c in found]


@dataclasses.dataclass(frozen=True)
class GpuCostConfig(Config):
  """What compilers make of kernels for GPUs that are not here."""

  gpus: str = setting(",".join(GPUS), "commas between them")
  length: int = setting(4096, "T, tokens", at_least=64)
  calls: int = setting(6, "of the list of calls, the first", at_least=1)

  def __post_init__(self):
    super().__post_init__()
    listed(self.gpus, "gpus", GPUS)


@dataclasses.dataclass(frozen=True)
class GpuSpeedConfig(Config):
  """Which calls are measured on a GPU, and of whom. All is bfloat16."""

  lengths: str = setting("4096,16384", "T, tokens; commas between them")
  head_widths: str = setting("64,128", "D, features; commas between them")
  cases: str = setting(",".join(GPU_CASES), "commas between them")
  contenders: str = setting(
    ",".join(GPU_CONTENDERS), "the first is ours; commas between them"
  )
  conformance: str = setting(
    _CONFORMANCE, "cases of the suite that are checked before; commas"
  )
  heads: int = setting(8, "H", at_least=1)
  memory_limit_gb: float = setting(
    16.0, "a call that needs more is not run but says so, 10^9 bytes", above=0
  )
  rounds: RoundsConfig = RoundsConfig(seconds=0.5, most=20)

  def __post_init__(self):
    super().__post_init__()
    listed(self.cases, "cases", GPU_CASES)
    names = listed(self.contenders, "contenders", GPU_CONTENDERS)
    if names[0] != "fused":
      raise ValueError(
        "contenders: the first must be fused, with whose results those of the"
        f" others are compared, got {self.contenders!r}"
      )
    integers(self.lengths, "lengths")
    integers(self.head_widths, "head_widths")

  def sizes(self) -> list[tuple[int, int]]:
    """Every (head width, length)."""
    widths = integers(self.head_widths, "head_widths")
    lengths = integers(self.lengths, "lengths")
    return [(width, length) for width in widths for length in lengths]


def tiny() -> AttentionSpeedConfig:
  """Short rows, a minute on two cores: the main job."""
  return AttentionSpeedConfig(
    cases="causal,documents,softcap_alibi",
    contenders="attnjax,jax.nn,flax,torch_sdpa",
    rounds=RoundsConfig(seconds=1.0),
  )


def base() -> AttentionSpeedConfig:
  """Every case up to 8192, for two cores."""
  return AttentionSpeedConfig(lengths="256,512,1024,2048,4096,8192")


def full() -> AttentionSpeedConfig:
  """Every case up to 16384, in both head widths: hours on two cores."""
  return AttentionSpeedConfig(
    lengths="256,512,1024,2048,4096,8192,16384",
    head_widths="64,128",
    memory_limit_gb=12.0,
  )


def model() -> ModelSpeedConfig:
  """The language model's `tiny`, a few minutes on two cores."""
  return ModelSpeedConfig()


def model_long() -> ModelSpeedConfig:
  """The same model on one row of 2048, where attention is most of the work."""
  data = dataclasses.replace(_DATA, length=2048, batch_size=1)
  return ModelSpeedConfig(data=data)


def tiles() -> TileCostConfig:
  """What a tile costs on this machine: ten minutes on two cores."""
  return TileCostConfig()


def tpu() -> TpuCostConfig:
  """Static cost on four TPUs, of ours and of the peers: an hour on one core."""
  return TpuCostConfig()


def gpu_static() -> GpuCostConfig:
  """Registers, spills and instructions on three GPUs: ten minutes a core."""
  return GpuCostConfig()


def gpu() -> GpuSpeedConfig:
  """What conforms and how fast, on the GPU that is here: eight minutes."""
  return GpuSpeedConfig()


PRESETS = {
  "tiny": tiny,
  "base": base,
  "full": full,
  "model": model,
  "model_long": model_long,
  "tiles": tiles,
  "tpu": tpu,
  "gpu": gpu,
  "gpu_static": gpu_static,
}
