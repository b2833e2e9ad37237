"""A published model to start from: its decoder, its tokenizer, its save."""

import dataclasses
import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, SupportsIndex

import jax
import numpy as np

from attnjax import runs, training
from attnjax.config import decisive
from attnjax.models import (
  DecoderLM,
  PublishedTokenizer,
  init_lora,
  load,
  merge_lora,
  save,
)
from attnjax.training.processes import is_primary
from experiments.language_model import task
from experiments.language_model.config import PRESETS, LanguageModelConfig

__all__ = ["PublishedText", "Start", "check_flags", "fine_tune", "load_start"]

# Of `data`: what the tokenizer of a published model takes the place of.
_TOKENIZER = ("tokenizer", "vocabulary")


@dataclasses.dataclass(frozen=True, eq=False)
class PublishedText:
  """The tokenizer of a published model as one of text data.

  Args:
    published: as `models.load` returned it.

  Raises:
    ValueError: it has neither a token of the beginning nor one of the end, of
      which one has to open each document.
  """

  published: PublishedTokenizer

  def __post_init__(self):
    if self._boundary() is None:
      raise ValueError(
        "start_from: its tokenizer must have a token that begins or ends a"
        " text, and has none; give bos_token in tokenizer_config.json"
      )

  @functools.cached_property
  def _plain(self) -> PublishedTokenizer:
    """The tokenizer to which text that spells a special token is text."""
    engine = type(self.published.engine).from_str(
      self.published.engine.to_str()
    )
    engine.encode_special_tokens = True
    return dataclasses.replace(self.published, engine=engine)

  def _boundary(self) -> int | None:
    """The token of the beginning, else the first that ends a text."""
    name = self.published.special.get("bos_token")
    found = None if name is None else self.published.engine.token_to_id(name)
    return next(iter(self.published.stop), None) if found is None else found

  @property
  def vocabulary_size(self) -> int:
    """How many tokens there are."""
    return self.published.vocabulary_size

  @property
  def boundary(self) -> int:
    """The token that opens a document."""
    return self._boundary() or 0

  @property
  def digest(self) -> str:
    """Hash of the tokenizer."""
    text = f"{self.published.engine.to_str()} {self.boundary}"
    return hashlib.sha256(text.encode()).hexdigest()

  def encode(self, text: bytes) -> np.ndarray:
    """Tokens of a text, which has to be UTF-8."""
    try:
      return self._plain.encode(text.decode(), special=False)
    except UnicodeDecodeError as error:
      raise ValueError(
        f"data: the tokenizer of start_from reads UTF-8, and a text is none"
        f" ({error}); convert it"
      ) from None

  def decode(self, ids: np.ndarray) -> bytes:
    """The text of some tokens, without special ones."""
    return self.published.decode(ids).encode()

  def token_bytes(self, token: SupportsIndex) -> bytes:
    """The text of one token; none for the boundary."""
    return self.decode(np.array([token.__index__()]))

  def save(self, directory: str | Path) -> None:
    """Writes the published files into a directory, which is made."""
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    self.published.write(folder)


@dataclasses.dataclass(frozen=True, eq=False)
class Start:
  """What a run starts from.

  Args:
    model: the decoder, on the mesh of the run.
    tokenizer: of its text.
    digest: of the files.
  """

  model: DecoderLM
  tokenizer: PublishedText
  digest: str


def check_flags(config: LanguageModelConfig) -> None:
  """Refuses flags that contradict `start_from`, or that need it.

  Raises:
    ValueError: names the flag.
  """
  if config.start_from is None:
    if config.lora.rank:
      raise ValueError(
        f"lora.rank must be 0 without start_from, got {config.lora.rank}: a new"
        " model has nothing to adapt; give --config.start_from"
      )
    return

  if config.lora.rank and config.optimizer.kind != "adamw":
    raise ValueError(
      "optimizer.kind must be 'adamw' where lora.rank is above 0, got"
      f" {config.optimizer.kind!r}, which takes whole kernels for matrices"
    )
  # Which flags were typed nobody says here: what is of no preset was.
  presets = [make() for make in PRESETS.values()]
  tokens = lambda of: {name: getattr(of.data, name) for name in _TOKENIZER}
  for prefix, of in (("model", lambda x: decisive(x.model)), ("data", tokens)):
    typed = _changed(of(config), [of(preset) for preset in presets])
    if typed:
      raise ValueError(
        f"{prefix}.{typed[0]} must be left out where start_from is given, for"
        " the files of the published model say it"
      )


def _changed(given: Mapping[str, Any], presets: list[Mapping]) -> list[str]:
  """Names of the values that the nearest preset has not."""
  differ = lambda other: [name for name in given if given[name] != other[name]]
  return min((differ(other) for other in presets), key=len)


def load_start(config: LanguageModelConfig) -> Start:
  """Loads the published model of a config, each shard on its device.

  Raises:
    ValueError: it is no decoder, or has no tokenizer; or as `models.load`.
  """
  path = str(config.start_from)
  model, published = load(path, mesh=config.train.mesh.make())
  if not isinstance(model, DecoderLM):
    raise ValueError(
      f"start_from must be a decoder, got {type(model).__name__}: it predicts"
      " no next token"
    )
  if published is None:
    raise ValueError(
      f"start_from: {path} must have a tokenizer.json, and has none"
    )

  length, limit = config.data.length, model.config.max_length
  if model.config.positions == "learned" and length > limit:
    raise ValueError(
      f"data.length={length} outgrows the {limit} learned positions of"
      " start_from; lower data.length"
    )
  if not config.lora.rank:
    task.check_fits(
      model.config,
      model.vocabulary,
      config.train.mesh,
      "train adapters alone (--config.lora.rank=8)",
    )
  return Start(model, PublishedText(published), _digest(path))


def _digest(path: str) -> str:
  """Hash of all files that a model is read from."""
  place = Path(path)
  files = [place] if place.is_file() else sorted(place.iterdir())
  digest = hashlib.sha256()
  for file in files:
    if file.suffix in (".json", ".safetensors", ".gguf"):
      with file.open("rb") as opened:
        one = hashlib.file_digest(opened, "sha256").hexdigest()
      digest.update(f"{file.suffix} {one}\n".encode())
  return digest.hexdigest()


def fine_tune(
  config: LanguageModelConfig, workdir: Path, start: Start, **how: Any
) -> runs.Fitted:
  """Trains all parameters or adapters; writes the model for `models.load`.

  Args:
    config: of the run.
    workdir: of the run; the model is `model` in it.
    start: what is trained.
    **how: the other arguments of `runs.fit`.

  Returns:
    The model, adapters merged, and the records of its training.
  """
  if config.lora.rank:
    fitted = runs.fit(
      init_lora(start.model, config.lora, seed=config.seed),
      workdir=workdir,
      frozen=start.model,
      join=merge_lora,
      **how,
    )
    base = start.model
    if config.train.mesh.gather:
      base = training.gather_tree(base)
    model = jax.jit(merge_lora)(base, fitted.params)
  else:
    fitted = runs.fit(start.model, workdir=workdir, **how)
    model = fitted.params

  # On every process, for it may bring parts from all of them.
  whole = training.gather_tree(model)
  if is_primary():
    save(workdir / "model", whole, start.tokenizer.published)
  return runs.Fitted(model, fitted.records)
