"""Bits per byte, speed and a continuation of a published model."""

import math
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from attnjax.data import TextConfig, load, split
from attnjax.models import DecoderLM, PublishedTokenizer, generate
from attnjax.models.speculative import Drafted
from experiments.published_model.config import PublishedModelConfig

__all__ = ["Window", "bits_per_byte", "continued", "encoded", "windows_of"]


class Window(NamedTuple):
  """Consecutive tokens of a document.

  Args:
    tokens: int ``T``.
    size: bytes of all of them but the first, which nothing predicts.
  """

  tokens: np.ndarray
  size: int


def encoded(
  config: PublishedModelConfig, tokenizer: PublishedTokenizer
) -> np.ndarray:
  """Tokens of the prompt, in the model's chat template where it has one."""
  text = config.prompt
  if config.chat and tokenizer.template is not None:
    # The template has the tokens of the beginning itself.
    text = tokenizer.chat([{"role": "user", "content": text}])
    return tokenizer.encode(text, special=False)
  return tokenizer.encode(text)


def continued(
  config: PublishedModelConfig,
  model: DecoderLM,
  ids: np.ndarray,
  stop,
  draft: DecoderLM | None = None,
) -> tuple[np.ndarray, dict[str, float]]:
  """Tokens after the prompt, and tokens a second of reading and writing.

  With a draft also which share of its tokens the model accepted.
  """
  shares: list[float] = []

  def write(steps: int) -> tuple[np.ndarray, float]:
    begun = time.perf_counter()
    found = generate(
      model,
      jnp.asarray(ids)[None],
      steps=steps,
      key=jax.random.key(config.seed),
      temperature=config.temperature,
      stop=stop or None,
      draft=draft,
      ahead=config.ahead,
    )
    if isinstance(found, Drafted):
      offered = max(int(found.offered[0]), 1)
      shares.append(int(found.accepted[0]) / offered)
      found = found.tokens
    return np.asarray(found[0]), time.perf_counter() - begun

  # Twice each: the first call compiles.
  for steps in (1, config.tokens):
    write(steps)
  _, read = write(1)
  tokens, whole = write(config.tokens)
  speed = {
    "read": len(ids) / read,
    "written": (config.tokens - 1) / max(whole - read, 1e-9),
  }
  ends = np.flatnonzero(np.isin(tokens, stop))
  written = int(ends[0]) + 1 if ends.size else config.tokens
  speed["written"] *= (written - 1) / (config.tokens - 1)
  if shares:
    speed["accepted"] = shares[-1]
  return tokens[: ends[0] if ends.size else None], speed


def windows_of(
  config: PublishedModelConfig, tokenizer: PublishedTokenizer
) -> list[Window]:
  """Windows of the held-out documents of the embedded English text.

  The same documents are held out as of the language-model experiment.
  """
  _, heldout = split(load("english"), TextConfig().heldout_fraction)
  found: list[Window] = []
  for document in heldout:
    text = document.text.decode(errors="replace")
    ids = tokenizer.encode(text, special=False)
    for start in range(0, len(ids), config.length):
      tokens = ids[start : start + config.length]
      if len(tokens) > 1 and len(found) < config.windows:
        size = len(tokenizer.decode(tokens[1:]).encode())
        found.append(Window(tokens, size))
  return found


def bits_per_byte(
  model: DecoderLM, windows: list[Window], length: int
) -> float:
  """Bits of all predicted tokens over their bytes."""

  @jax.jit
  def bits(model, tokens, count):
    log = jax.nn.log_softmax(model(tokens)[:-1])
    predicted = jnp.take_along_axis(log, tokens[1:, None], axis=-1)[:, 0]
    # Padding stands at the end, where no real token sees it.
    real = jnp.arange(1, length) < count
    return -jnp.where(real, predicted, 0).sum() / math.log(2)

  total = 0.0
  for window in windows:
    tokens = np.zeros(length, np.int32)
    tokens[: len(window.tokens)] = window.tokens
    total += float(bits(model, tokens, len(window.tokens)))
  return total / sum(window.size for window in windows)
