"""`load`: a Hugging Face directory or a GGUF file becomes a model."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from attnjax.models.leaf_paths import leaves_by_path
from attnjax.models.partition import partition_rules
from attnjax.models.published.families import FAMILIES
from attnjax.models.published.family import Family
from attnjax.models.published.filling import Source, filled
from attnjax.models.published.gguf_file import GgufFile
from attnjax.models.published.hub import downloaded
from attnjax.models.published.image_processor import ImageProcessor
from attnjax.models.published.mxfp4 import Mxfp4Weights
from attnjax.models.published.places import (
  Place,
  Tensor,
  published_shape,
  tensors_of,
)
from attnjax.models.published.read_config import config_of, read_json
from attnjax.models.published.tokenizer import PublishedTokenizer
from attnjax.models.published.weights import Weights, open_weights
from attnjax.models.vit import ViT
from attnjax.ops.attention import attend as default_attend
from attnjax.training.partition import AXES, shardings
from attnjax.typing import DTypeLike

__all__ = ["load"]


def load(
  path: str | Path,
  *,
  revision: str | None = None,
  dtype: DTypeLike | None = jnp.float32,
  attend: Callable = default_attend,
  ignore: tuple[str, ...] = (),
  mesh: Mesh | None = None,
) -> tuple[Any, Any]:
  """A published model and its tokenizer, by our own modules.

  Read are `config.json`, `model.safetensors` or its shards, and
  `tokenizer.json`, or one GGUF file of the Llama family. Nothing is executed:
  pickles are refused, and so is every option of the config that would change a
  number and that no table has.

  Args:
    path: of the directory, or of the GGUF file; or a name of the Hugging Face
      hub, ``owner/name``, with `revision`.
    revision: the commit of a hub name, 40 hexadecimal digits, so that the same
      call gives the same numbers.
    dtype: of the parameters; None is that of the files.
    attend: the attention to call; see `nn.MultiHeadAttention`.
    ignore: keys of the config that no table has and that are known to change
      nothing.
    mesh: with the axes of `training.partition`: each device gets its shards of
      the parameters, and a process has beside those of its devices one group
      of leaves at a time; None: JAX's default device.

  Returns:
    The model, a `DecoderLM`, an `Encoder` or an `EncoderDecoder`, and its
    `PublishedTokenizer`, or None without `tokenizer.json`; or a `ViT` and its
    `ImageProcessor`, or None where there is no `preprocessor_config.json`.

  Raises:
    ValueError: a revision is given of a directory or a file, the dtype is no
      floating one, the family is unknown (the nearest is named), an option is
      not honoured, a tensor is missing, is one too many or has another shape, a
      file is broken, weights are a pickle, or the tokenizer has more tokens
      than the model.
    ImportError: a library is missing: `pip install 'attnjax[published]'`.

  >>> import tempfile
  >>> import jax.numpy as jnp
  >>> from attnjax.models import DecoderConfig, DecoderLM, save
  >>> from flax import nnx
  >>> config = DecoderConfig(
  ...   width=8, depth=2, heads=2, hidden=16, activation="swiglu")
  >>> model = DecoderLM(config, 11, rngs=nnx.Rngs(0))
  >>> with tempfile.TemporaryDirectory() as folder:
  ...   save(folder, model)
  ...   again, tokenizer = load(folder)
  'llama'
  >>> tokens = jnp.array([[3, 1, 4]])
  >>> bool((again(tokens) == model(tokens)).all()), tokenizer
  (True, None)

  Reference:
    The layout: Wolf et al., "Transformers: State-of-the-Art Natural Language
    Processing", 2020, arXiv 1910.03771.
  """
  if isinstance(ignore, str):
    # Parts of the one key would be ignored too.
    raise ValueError(
      f"load: ignore must be several keys, got {ignore!r}; give ({ignore!r},)"
    )
  if dtype is not None and not jnp.issubdtype(dtype, jnp.floating):
    raise ValueError(
      f"load: dtype must be a floating one of the parameters, got {dtype!r}"
    )

  folder = Path(path)
  if revision is not None and folder.exists():
    raise ValueError(
      f"load: revision={revision!r} is a commit of the hub, and {folder} is"
      " here; leave revision out, or call from another directory"
    )
  if folder.suffix == ".gguf" and folder.is_file():
    file = GgufFile(folder)
    model = _model(file.keys(), file, dtype, attend, ignore, mesh)
    tokenizer = file.tokenizer()
    tokenizer.check_fits(model.vocabulary, folder)
    return model, tokenizer
  if not folder.is_dir():
    folder = downloaded(str(path), revision)

  values = read_json(folder / "config.json")
  with open_weights(folder) as weights:
    model = _model(*_unpacked(values, weights), dtype, attend, ignore, mesh)
  if isinstance(model, ViT):
    return model, ImageProcessor.read(folder)
  return model, PublishedTokenizer.read(folder, model.vocabulary)


def _unpacked(
  values: Mapping[str, Any], weights: Weights
) -> tuple[Mapping[str, Any], Weights | Mxfp4Weights]:
  """Keys and weights, those in MXFP4 read as numbers."""
  about = values.get("quantization_config")
  if not isinstance(about, Mapping) or about.get("quant_method") != "mxfp4":
    # Of another method the key stays, and is refused.
    return values, weights
  rest = {k: v for k, v in values.items() if k != "quantization_config"}
  return rest, Mxfp4Weights(weights)


def _model(
  values: Mapping[str, Any],
  weights: Source,
  dtype,
  attend: Callable,
  ignore: tuple[str, ...],
  mesh: Mesh | None,
) -> Any:
  """The model that a config.json and its tensors say."""
  name, config, vocabulary = config_of(
    values, ignore=ignore, tensors=weights.names()
  )
  # The places of this config alone.
  family = dataclasses.replace(
    FAMILIES[name], places=FAMILIES[name].tensors(config)
  )
  make = lambda: family.model(
    config,
    vocabulary,
    attend=attend,
    rngs=nnx.Rngs(0),
  )
  # `eval_shape`: no parameter is drawn only to be replaced.
  shapes = jax.eval_shape(make)
  leaves = leaves_by_path(shapes)
  places: Mapping[str, Any] = dict.fromkeys(leaves)
  if mesh is not None:
    if absent := [axis for axis in AXES if axis not in mesh.shape]:
      raise ValueError(
        f"load: mesh must have the axes {list(AXES)}, of size 1 where they are"
        f" not used, and lacks {absent}; see parallel.make_mesh"
      )
    rules = partition_rules(shapes)
    places = leaves_by_path(shardings(shapes, mesh, rules))
  arrays = _read(weights, family, leaves, dtype, places)
  return jax.tree.unflatten(jax.tree.structure(shapes), arrays)


def _read(
  weights: Source, family: Family, leaves, dtype, places
) -> list[jax.Array]:
  """Our leaves, in their order, each where its sharding says."""
  shapes = {name: leaf.shape for name, leaf in leaves.items()}
  published = cast("tuple[Place, ...]", family.places)
  tensors = list(tensors_of(published, shapes))
  found = _named(weights, family, tensors)
  for tensor in tensors:
    name = found[tensor.name]
    _check_shape(tensor, weights.shape(name), shapes)
    if not jnp.issubdtype(weights.dtype(name), jnp.floating):
      # Whole numbers are codes of a quantisation, and no parameters.
      raise ValueError(
        f"weights: {name} must have a floating dtype, got"
        f" {weights.dtype(name)}; is it quantised?"
      )
  theirs = [tensor._replace(name=found[tensor.name]) for tensor in tensors]
  read = filled(weights, theirs, shapes, dtype, places)
  for name in _of_no_tensor(published, shapes, read):
    like = next(iter(read.values()))
    read[name] = jnp.ones(shapes[name], like.dtype, device=places[name])
  return [read[name] for name in shapes]


def _of_no_tensor(published: Sequence[Place], shapes, read) -> list[str]:
  """Leaves that no block has a tensor of, as the norm of ModernBERT's first."""
  rest = [name for name in shapes if name not in read]
  mine = lambda name, place: any(
    name.startswith(f"{place.stack}.{ours}.") for ours in place.ours
  )
  return [
    name
    for name in rest
    if any(place.without and mine(name, place) for place in published)
  ]


def _named(
  weights: Source, family: Family, tensors: Sequence[Tensor]
) -> dict[str, str]:
  """Our name of each tensor -> the name in the files.

  Raises:
    ValueError: one is missing, or one too many.
  """
  inside = weights.names()
  other = {
    usual: name for name in inside if (usual := family.usual(name)) != name
  }
  # A file of the model without its readout has names without the base.
  bare = not any(name.startswith(family.base) for name in inside)
  known = {}
  for t in tensors:
    name = t.name.removeprefix(family.base) if bare else t.name
    known[t.name] = other.get(name, name)

  if missing := sorted({*known.values()} - inside):
    raise ValueError(
      f"weights must have {', '.join(missing[:5])}"
      f"{' and others' if len(missing) > 5 else ''}, and do not; is this"
      f" config.json theirs?"
    )
  rest = inside - {*known.values()}
  extra = {name for name in rest if not family.skips(name)}
  # A readout that is tied may be saved once more.
  tied = {*family.copies} & extra
  for name in tied:
    table = next(t.name for t in tensors if t.ours == (family.table,))
    if not np.array_equal(weights.get(name), weights.get(known[table])):
      raise ValueError(
        f"weights: {name} must equal {known[table]}, for config.json says that"
        " the two are tied; give tie_word_embeddings=false there"
      )
  if extra := extra - tied:
    raise ValueError(
      f"weights have {', '.join(sorted(extra)[:5])}, which no part of the model"
      " is for; is this config.json theirs?"
    )
  return known


def _check_shape(tensor: Tensor, got: tuple[int, ...], shapes) -> None:
  """Raises ValueError unless a published tensor has the shape of its leaves."""
  one = [shapes[n][len(tensor.at) :] for n in tensor.ours]
  expected = published_shape(tensor, one)
  if got != expected:
    raise ValueError(
      f"weights: {tensor.name} must have shape {list(expected)} by config.json,"
      f" got {list(got)}"
    )
