"""Config and presets of the published-model experiment."""

import dataclasses

from attnjax.config import Config, setting

__all__ = ["PRESETS", "PublishedModelConfig"]


@dataclasses.dataclass(frozen=True)
class PublishedModelConfig(Config):
  """Which model, what to ask it, and how much text to measure."""

  path: str | None = setting(
    None,
    "directory or GGUF file of the model; none: SmolLM2-135M-Instruct, an"
    " asset of 93 MB",
    path=True,
  )
  prompt: str = setting(
    "What is the capital of France?", "text to answer or to continue"
  )
  chat: bool = setting(
    True, "ask by the model's chat template, where it has one"
  )
  tokens: int = setting(60, "tokens to write at most", at_least=2)
  draft: str | None = setting(
    None,
    "directory or GGUF file of a smaller model of the same tokens, which"
    " proposes what the model verifies; none: it writes alone",
    path=True,
  )
  ahead: int = setting(4, "tokens that a draft proposes at a time", at_least=1)
  temperature: float = setting(
    0.0, "of the draw; 0 takes the likeliest", at_least=0
  )
  length: int = setting(
    256, "tokens of a window of text that is measured", at_least=2
  )
  windows: int = setting(
    12, "windows of English text that are measured", at_least=1
  )
  apart: bool = setting(
    False,
    "write by layers in arrays of their own: faster on a CPU, and compiled for"
    " longer",
  )
  beside: bool = setting(
    False,
    "measure speed beside the transformers library too, by turns; needs the"
    " extra torch",
  )
  turns: int = setting(
    5, "turns of the measure beside another library", at_least=1
  )
  seed: int = setting(0, "of the draws", at_least=0, below=2**32)


def tiny() -> PublishedModelConfig:
  """SmolLM2 on one question and 12 windows, a minute on two cores."""
  return PublishedModelConfig()


def base() -> PublishedModelConfig:
  """The whole of the held-out English text, minutes on two cores."""
  return PublishedModelConfig(length=1024, windows=100_000)


PRESETS = {"tiny": tiny, "base": base}
