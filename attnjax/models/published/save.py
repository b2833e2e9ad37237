"""`save`: a model becomes a directory in the Hugging Face layout."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np

from attnjax.extras import needs_extra
from attnjax.models.decoder import DecoderLM
from attnjax.models.encoder import Encoder
from attnjax.models.encoder_decoder import EncoderDecoder
from attnjax.models.leaf_paths import leaves_by_path
from attnjax.models.published.families import FAMILIES
from attnjax.models.published.image_processor import ImageProcessor
from attnjax.models.published.places import join, tensors_of
from attnjax.models.published.read_config import keys_of
from attnjax.models.published.tokenizer import PublishedTokenizer
from attnjax.models.vit import ViT

__all__ = ["save"]


def save(
  path: str | Path,
  model: DecoderLM | Encoder | EncoderDecoder | ViT,
  tokenizer: PublishedTokenizer | ImageProcessor | None = None,
  *,
  family: str | None = None,
) -> str:
  """Writes a model so that `load` and the `transformers` library open it.

  Args:
    path: of the directory, which is made.
    model: a decoder, an encoder, both, or a vision transformer; its parameters
      keep their dtype.
    tokenizer: or the `ImageProcessor`, as `load` returned it; None writes none.
    family: whose names and keys to write, a name of
      `attnjax.models.published.families.FAMILIES`; None is the first that can
      say the config.

  Returns:
    The family.

  Raises:
    ValueError: the family cannot say the config, or none can; the leaves that
      it cannot say are named. Or the directory has files of another model that
      would be read with this one, or an image processor comes with a text
      model or a tokenizer with a `ViT`, or the tokenizer has more tokens than
      the model.
    ImportError: safetensors is missing: `pip install 'attnjax[published]'`.

  A family that has no way to say it refuses:

  >>> from flax import nnx
  >>> from attnjax.models import DecoderConfig, DecoderLM
  >>> config = DecoderConfig(width=8, depth=1, heads=2, hidden=16)
  >>> model = DecoderLM(config, 11, rngs=nnx.Rngs(0))
  >>> save("/no/such/folder", model, family="llama")
  Traceback (most recent call last):
    ...
  ValueError: config: must be one that a published family can say; the ...
  """
  with needs_extra("published", "published weights need safetensors"):
    import safetensors.numpy

  folder = Path(path)
  beside = ImageProcessor if isinstance(model, ViT) else PublishedTokenizer
  if tokenizer is not None and not isinstance(tokenizer, beside):
    raise ValueError(
      f"save: tokenizer must be a {beside.__name__} or None for a"
      f" {type(model).__name__}, got {type(tokenizer).__name__}"
    )
  if isinstance(tokenizer, PublishedTokenizer) and not isinstance(model, ViT):
    tokenizer.check_fits(model.vocabulary, "save: tokenizer")
  _refuse_left(folder, tokenizer)

  outputs = model.classes if isinstance(model, ViT) else model.vocabulary
  name, keys = keys_of(model.config, outputs, family)
  leaves = leaves_by_path(model)
  shapes = {path: leaf.shape for path, leaf in leaves.items()}
  arrays = jax.tree.map(np.asarray, leaves)

  tensors = {}
  places = FAMILIES[name].tensors(model.config)
  for tensor in tensors_of(places, shapes):
    whole = join(tensor, [arrays[ours][tensor.at] for ours in tensor.ours])
    tensors[tensor.name] = np.ascontiguousarray(whole)

  dtypes = {str(x.dtype) for x in tensors.values()}
  keys["dtype"] = dtypes.pop() if len(dtypes) == 1 else "float32"
  # Null and not left out, for defaults may be beyond the vocabulary.
  special = ("bos_token_id", "eos_token_id", "pad_token_id")
  keys = dict.fromkeys(special) | keys
  if isinstance(tokenizer, PublishedTokenizer) and tokenizer.stop:
    keys["eos_token_id"] = list(tokenizer.stop)

  folder.mkdir(parents=True, exist_ok=True)
  # The format says to others which library's names these are.
  safetensors.numpy.save_file(
    tensors, folder / "model.safetensors", metadata={"format": "pt"}
  )
  text = json.dumps(keys, indent=2) + "\n"
  (folder / "config.json").write_text(text, encoding="utf-8")
  if tokenizer is not None:
    tokenizer.write(folder)
  return name


def _refuse_left(folder: Path, tokenizer: Any) -> None:
  """Raises ValueError for files that `load` would read and that stay."""
  # What `load` reads, and which of ours writes it anew.
  writers: dict[str, tuple[type, ...]] = {
    "tokenizer.json": (PublishedTokenizer,),
    "tokenizer_config.json": (PublishedTokenizer,),
    "preprocessor_config.json": (ImageProcessor,),
    "generation_config.json": (),
    "chat_template.jinja": (),
  }
  left = [
    name
    for name, writer in writers.items()
    if (folder / name).exists() and not isinstance(tokenizer, writer)
  ]
  if left:
    raise ValueError(
      f"save: {folder} has {', '.join(left)} of what was there before, which"
      " would be read with this model; give another directory, or remove them"
    )
