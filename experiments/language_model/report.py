"""Table of bits per byte, a sample, and figures of the language model."""

import importlib.util
import json
import re
from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from attnjax import viz
from attnjax.data import TextData, show
from attnjax.models import DecoderLM, generate
from attnjax.runs import AttentionWatch, TrainConfig
from attnjax.viz.attention import save_attention
from attnjax.viz.curves import save_curves
from experiments.language_model.config import SampleConfig

__all__ = [
  "attention_page",
  "attention_watch",
  "check_sample",
  "draw_attention",
  "draw_curves",
  "print_table",
  "print_text",
  "write_sample",
]

_ROWS = 12  # queries of a sentence that are drawn with their tokens


def print_text(text: TextData) -> None:
  """Prints the vocabulary and the sizes of the train and held-out splits."""
  print(f"vocabulary = {text.tokenizer.vocabulary_size}")
  for split, documents, size, tokens in (
    ("train", text.train, text.train_bytes, text.train_tokens),
    ("held-out", text.heldout, text.heldout_bytes, text.heldout_tokens),
  ):
    print(
      f"{split:9}{len(documents):>6} documents {size:>12,} bytes"
      f" {tokens:>12,} tokens"
    )


def print_table(
  workdir: Path, bits: float, yardsticks: Mapping[str, float]
) -> None:
  """Prints and saves held-out bits per byte beside the yardsticks."""
  # Worst first: the table is read from the baselines down to the model.
  rows = sorted(
    [*yardsticks.items(), ("this model", bits)], key=lambda row: -row[1]
  )
  print("\nbits per byte of held-out text")
  for name, value in rows:
    print(f"  {name:22}{value:7.4f}{' <' if name == 'this model' else ''}")

  (workdir / "result.json").write_text(
    json.dumps({"bits_per_byte": dict(rows)}, indent=2) + "\n"
  )


def draw_curves(
  workdir: Path, records: list, yardsticks: Mapping[str, float]
) -> Path:
  """Draws held-out bits per byte over steps, yardsticks as levels."""
  return save_curves(
    workdir / "curves.png",
    [record for record in records if record["split"] == "eval"],
    label="bits per byte",
    yardsticks=yardsticks,
  )


def check_sample(
  model: DecoderLM, text: TextData, config: SampleConfig
) -> None:
  """Checks before training that sample and figures can be made after it.

  Raises:
    ValueError: names the setting and its limit.
    ImportError: names the extra that brings matplotlib.
  """
  # Only looked for: importing it can wait until there is something to draw.
  if importlib.util.find_spec("matplotlib") is None:
    raise ImportError("the figures need matplotlib: pip install 'attnjax[viz]'")

  size = text.tokenizer.vocabulary_size
  if config.top_k is not None and config.top_k > size:
    raise ValueError(
      f"sample.top_k={config.top_k} is more than the vocabulary of {size}"
    )

  # Computed positions, such as RoPE, have no table and no such limit.
  if model.position_table is None:
    return

  limit = model.position_table.embedding.shape[0]
  for what, length in (
    (
      "prompt and sample.tokens",
      len(_encoded(text, config.prompt)) + config.tokens,
    ),
    ("sample.sentence", len(_encoded(text, config.sentence))),
  ):
    if length > limit:
      raise ValueError(
        f"sample: {what} make {length} tokens, more than"
        f" model.max_length={limit} learned positions"
      )


def write_sample(
  workdir: Path, model: DecoderLM, text: TextData, config: SampleConfig
) -> str:
  """Samples a continuation of the prompt; saves and returns it as text."""
  ids = _encoded(text, config.prompt)
  written = generate(
    model,
    jnp.asarray(ids)[None],
    steps=config.tokens,
    key=jax.random.key(config.seed),
    temperature=config.temperature,
    top_k=config.top_k,
    top_p=config.top_p,
    # What follows the boundary belongs to another document.
    stop=text.tokenizer.boundary,
  )[0]
  prompt, answer = (_decode(text, np.asarray(x)) for x in (ids, written))
  (workdir / "sample.txt").write_text(prompt + answer, encoding="utf-8")

  return f"{prompt}▸{answer}"


def draw_attention(
  workdir: Path, model: DecoderLM, text: TextData, config: SampleConfig
) -> list[Path]:
  """Draws attention on one sentence: all heads, and rows of the last layer."""
  ids = _encoded(text, config.sentence)
  _, aux = jax.jit(lambda model, ids: model(ids, aux=("weights",)))(
    model, jnp.asarray(ids)
  )
  tokens = [show(text.tokenizer, token) for token in ids]
  weights = np.asarray(aux.weights)
  overview = viz.head_overview_figure(weights)
  last = len(weights) - 1
  return [
    viz.save_figure(overview, workdir / "attention.png"),
    save_attention(
      workdir / "last_layer.png",
      weights[last],
      tokens,
      queries=range(-min(_ROWS, len(tokens)), 0),
      titles=[f"layer {last}, head {n}" for n in range(weights.shape[1])],
      columns=1,
    ),
  ]


def attention_page(
  model: DecoderLM, text: TextData, config: SampleConfig
) -> viz.Page:
  """A page of the attention weights of every head on one sentence."""
  ids = _encoded(text, config.sentence)
  return viz.page(
    viz.capture(model, jnp.asarray(ids)),
    [show(text.tokenizer, token) for token in ids],
    title="language_model: what each head attends to",
  )


def attention_watch(
  text: TextData, config: SampleConfig, train: TrainConfig
) -> AttentionWatch | None:
  """Watches every head on the sentence that is drawn, if asked to."""
  if not (config.watch or train.watch):
    return None
  return AttentionWatch(jnp.asarray(_encoded(text, config.sentence))[None])


def _encoded(text: TextData, given: str | None) -> np.ndarray:
  """Ids ``T`` of a text; None: of a held-out sentence."""
  given = _sentence(text) if given is None else given
  ids = text.tokenizer.encode(given.encode())
  # Documents of training begin with the boundary.
  return np.concatenate([[text.tokenizer.boundary], ids]).astype(np.int32)


def _sentence(text: TextData) -> str:
  """The first held-out sentence of 4 to 7 plain English words."""
  prose = re.compile(rb"(?<=[.\n] )[A-Z][a-z]+(?: [a-z]+){3,6}\.(?=\s)")
  for document in text.heldout:
    if match := prose.search(document.text):
      return match[0].decode()
  # Other scripts, or no prose at all: the first 40 bytes of a document.
  return text.heldout[0].text[:40].decode(errors="replace")


def _decode(text: TextData, ids: np.ndarray) -> str:
  """Decodes ids up to the first boundary that is not at the beginning."""
  ends = np.flatnonzero(ids == text.tokenizer.boundary)
  ends = ends[ends > 0]
  ids = ids[: ends[0]] if len(ends) else ids
  ids = ids[ids != text.tokenizer.boundary]
  return text.tokenizer.decode(ids).decode(errors="replace")
