"""Config and presets of the language-model experiment."""

import dataclasses

from attnjax.config import Config, setting
from attnjax.data import TextConfig
from attnjax.models import DecoderConfig, LoraConfig
from attnjax.runs import FitConfig, TrainConfig
from attnjax.training import CheckpointConfig, OptimizerConfig

__all__ = ["PRESETS", "LanguageModelConfig", "SampleConfig"]


@dataclasses.dataclass(frozen=True)
class SampleConfig(Config):
  """Sampling and the attention figure, after training."""

  prompt: str | None = setting(
    None, "text to continue; none: a sentence that was held out"
  )
  tokens: int = setting(300, "tokens to write", at_least=1)
  temperature: float = setting(
    0.8, "of the draw; 0 takes the likeliest", at_least=0
  )
  top_k: int | None = setting(
    None, "draw among the k likeliest; none: all", at_least=1
  )
  top_p: float | None = setting(
    0.95,
    "draw among the likeliest that make up p; none: all",
    above=0,
    at_most=1,
  )
  sentence: str | None = setting(
    None, "sentence whose attention is drawn; none: one that was held out"
  )
  seed: int = setting(0, "of the draws", at_least=0, below=2**32)
  watch: bool = setting(
    False,
    "record each head's entropy on the sentence, and a picture for TensorBoard,"
    " with every evaluation",
  )

  def __post_init__(self):
    super().__post_init__()
    for name in ("prompt", "sentence"):
      try:
        (getattr(self, name) or "").encode()
      except UnicodeEncodeError as error:
        raise ValueError(f"sample.{name} is no valid text: {error}") from None


@dataclasses.dataclass(frozen=True)
class LanguageModelConfig(FitConfig):
  """Configs of data, model, training and sample, and the yardsticks."""

  start_from: str | None = setting(
    None,
    "directory or GGUF file of a published decoder to fine-tune, whose config"
    " and tokenizer take the place of model and data.tokenizer; none: a new"
    " model",
    # The digest of its files decides.
    decides=False,
    path=True,
  )
  lora: LoraConfig = LoraConfig()
  model: DecoderConfig = DecoderConfig()
  data: TextConfig = TextConfig()
  optimizer: OptimizerConfig = OptimizerConfig()
  train: TrainConfig = TrainConfig()
  sample: SampleConfig = SampleConfig()
  seed: int = setting(0, "of the initial parameters", at_least=0, below=2**32)
  yardsticks: bool = setting(
    True, "measure n-gram models and xz on the same split"
  )

  def __post_init__(self):
    super().__post_init__()
    length, limit = self.data.length, self.model.max_length
    new = self.start_from is None
    if new and self.model.positions == "learned" and length > limit:
      raise ValueError(
        f"data.length={length} outgrows model.max_length={limit} learned"
        " positions; raise model.max_length"
      )


def tiny() -> LanguageModelConfig:
  """Bytes of English, minutes on two cores: the main job."""
  return LanguageModelConfig(
    model=DecoderConfig(
      width=128,
      depth=4,
      heads=4,
      hidden=512,
      activation="squared_relu",
      # All four blocks: the scan is one turn.
      unroll=4,
    ),
    data=TextConfig(corpus="english", length=128, batch_size=16),
    # Warms up for 25 of 600 steps; AdamW takes 1,200 for the same bits.
    optimizer=OptimizerConfig(
      kind="muon", peak_learning_rate=8e-3, warmup=0.042
    ),
    sample=SampleConfig(watch=True),
    train=TrainConfig(
      steps=600,
      evaluate_every=100,
      log_every=10,
      checkpoint=CheckpointConfig(every_steps=100),
    ),
  )


def base() -> LanguageModelConfig:
  """The standard library in byte pairs, half an hour on two cores."""
  return LanguageModelConfig(
    model=DecoderConfig(
      width=192,
      depth=4,
      heads=4,
      kv_heads=2,
      hidden=768,
      activation="squared_relu",
      unroll=4,
    ),
    data=TextConfig(
      corpus="python",
      tokenizer="bpe",
      vocabulary=2048,
      length=256,
      batch_size=8,
      heldout_fraction=0.03,
      evaluation_stride=0.5,
    ),
    # Warms up for 100 of 6,000 steps.
    optimizer=OptimizerConfig(
      peak_learning_rate=3e-3, warmup=0.0167, floor=0.02
    ),
    train=TrainConfig(
      steps=6000,
      evaluate_every=2000,
      checkpoint=CheckpointConfig(every_steps=250),
    ),
    sample=SampleConfig(prompt="def ", watch=True),
  )


def gpt2_small() -> LanguageModelConfig:
  """The shape of GPT-2 small, for an accelerator.

  Radford et al., "Language Models are Unsupervised Multitask Learners", 2019.
  """
  return LanguageModelConfig(
    model=DecoderConfig(
      width=768,
      depth=12,
      heads=12,
      hidden=3072,
      norm="layer",
      use_bias=True,
      positions="learned",
      max_length=1024,
    ),
    data=TextConfig(
      corpus="python",
      tokenizer="bpe",
      vocabulary=50257,
      length=1024,
      batch_size=32,
    ),
    # Warms up for 2,000 of 100,000 steps.
    optimizer=OptimizerConfig(peak_learning_rate=6e-4, warmup=0.02),
    train=TrainConfig(steps=100_000, compute_dtype="bfloat16", microbatches=4),
  )


def gpt3() -> LanguageModelConfig:
  """The shape of GPT-3, for counting, planning, and machines that hold it.

  Brown et al., "Language Models are Few-Shot Learners", 2020, arXiv
  2005.14165, table 2.1. The readout is untied: so the published count of
  175,181,291,520 weights is made.
  """
  return LanguageModelConfig(
    model=DecoderConfig(
      width=12288,
      depth=96,
      heads=96,
      hidden=49152,
      norm="layer",
      use_bias=True,
      positions="learned",
      max_length=2048,
      tied=False,
      remat=True,
    ),
    data=TextConfig(
      corpus="python",
      tokenizer="bpe",
      vocabulary=50257,
      length=2048,
      # 3.1 million tokens; table 2.1 has 3.2 million, and this learning rate.
      batch_size=1536,
    ),
    # Warms up for 2,000 of 100,000 steps.
    optimizer=OptimizerConfig(peak_learning_rate=6e-5, warmup=0.02),
    train=TrainConfig(steps=100_000, compute_dtype="bfloat16", microbatches=64),
  )


def lora() -> LanguageModelConfig:
  """Adapters of the published decoder that `start_from` names.

  Hu et al., 2021, arXiv 2106.09685: rank 8 on queries and values, without decay
  of the weights that they started from.
  """
  return LanguageModelConfig(
    lora=LoraConfig(rank=8),
    data=TextConfig(length=128, batch_size=4),
    optimizer=OptimizerConfig(peak_learning_rate=1e-3, weight_decay=0.0),
    train=TrainConfig(steps=200, evaluate_every=100),
    sample=SampleConfig(tokens=60),
  )


PRESETS = {
  "tiny": tiny,
  "base": base,
  "lora": lora,
  "gpt2_small": gpt2_small,
  "gpt3": gpt3,
}
