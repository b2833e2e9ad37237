"""Reads a published config.json into a config of ours, and writes it back."""

import contextlib
import dataclasses
import difflib
import json
import operator
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from attnjax.config import Config
from attnjax.config.leaves import leaves, replace_leaves
from attnjax.models.decoder_config import DecoderConfig
from attnjax.models.encoder_decoder_config import EncoderDecoderConfig
from attnjax.models.published.families import FAMILIES
from attnjax.models.published.family import Family
from attnjax.models.published.keys import Keys

__all__ = ["config_of", "family_of", "keys_of", "read_json"]


def read_json(path: Path) -> dict[str, Any]:
  """A JSON file whose content is an object.

  Raises:
    ValueError: there is no such file, or it is no such JSON.
  """
  try:
    content = json.loads(path.read_text(encoding="utf-8"))
  except (OSError, ValueError) as error:
    raise ValueError(f"{path} cannot be read as JSON: {error}") from error
  if not isinstance(content, dict):
    raise ValueError(f"{path} must hold a JSON object, got {type(content)}")
  return content


def family_of(values: Mapping[str, Any]) -> tuple[str, Family]:
  """The family that a config.json names, by its `model_type`.

  Raises:
    ValueError: it is none of ours; the nearest is named.

  >>> family_of({"model_type": "llama4"})
  Traceback (most recent call last):
    ...
  ValueError: config.json: model_type='llama4' is no family that can be ...
  """
  name = str(values.get("model_type"))
  if name in FAMILIES:
    return name, FAMILIES[name]
  # By the class too, for a type may be missing or another name.
  asked = [name, *map(str, values.get("architectures") or ())]
  known = {x: x for x in FAMILIES}
  known |= {family.architecture: x for x, family in FAMILIES.items()}
  near = [
    known[found]
    for word in asked
    for found in difflib.get_close_matches(word, known, n=1, cutoff=0.5)
  ]
  hint = f" The nearest is {near[0]!r}." if near else ""
  raise ValueError(
    f"config.json: model_type={name!r} is no family that can be read.{hint}"
    f" There are: {', '.join(FAMILIES)}."
  )


def config_of(
  values: Mapping[str, Any],
  *,
  ignore: tuple[str, ...] = (),
  tensors: Collection[str] = (),
) -> tuple[str, Any, int]:
  """(family, config, vocabulary or classes) of a config.json.

  Args:
    values: of the file.
    ignore: names of keys that are known to change no number here.
    tensors: names in the files of weights, where they are known.

  Raises:
    ValueError: the family is unknown, a key is missing or has a value that is
      not honoured, or no table has it.

  >>> values = dict(model_type="llama", vocab_size=11, hidden_size=8,
  ...   intermediate_size=16, num_hidden_layers=2, num_attention_heads=2)
  >>> family, config, vocabulary = config_of(values)
  >>> family, config.activation, config.rotary.base, vocabulary
  ('llama', 'swiglu', 10000.0, 11)
  """
  name, family = family_of(values)
  keys = Keys(values, name, tensors)
  found: dict[str, Any] = {}
  for rule in family.rules:
    with _of_another_kind(keys):
      found |= rule.read(keys)
  with _of_another_kind(keys):
    vocabulary = operator.index(family.vocabulary.count(keys))
  keys.refuse_unread(ignore)
  try:
    return name, replace_leaves(family.config(), found), vocabulary
  except ValueError as error:
    raise ValueError(f"config.json: {error}") from error


@contextlib.contextmanager
def _of_another_kind(keys: Keys) -> Iterator[None]:
  """Names the keys that are read where a value is of a kind that cannot be."""
  before, keys.asked = keys.asked, set()
  try:
    yield
  except (
    *(TypeError, AttributeError, KeyError),
    *(IndexError, ArithmeticError, ValueError),
  ) as error:
    if isinstance(error, ValueError) and "config.json" in str(error):
      raise
    read = {k: keys.values[k] for k in sorted(keys.asked) if k in keys.values}
    raise ValueError(
      f"config.json: a value must be of another kind or length, of {read}"
      f" ({error!r})"
    ) from error
  finally:
    keys.asked |= before


def keys_of(
  config: Config, vocabulary: int, family: str | None = None
) -> tuple[str, dict[str, Any]]:
  """(family, config.json) of a model: what `config_of` reads as the same.

  Args:
    config: of the model.
    vocabulary: V, tokens or classes.
    family: a name of `FAMILIES`; None is the first that can say the config.

  Raises:
    ValueError: the family cannot say the config, or none can; the leaves that
      it cannot say are named.

  >>> from attnjax.models import DecoderConfig
  >>> config = DecoderConfig(activation="swiglu", head_width=64)
  >>> family, keys = keys_of(config, 11)
  >>> family, keys["num_attention_heads"], config_of(keys)[2]
  ('llama', 4, 11)
  """
  if family is not None and family not in FAMILIES:
    raise ValueError(f"family must be one of {[*FAMILIES]}, got {family!r}")

  lost: dict[str, list[str]] = {}
  for name in FAMILIES if family is None else (family,):
    if FAMILIES[name].config is not type(config):
      continue
    keys = _written(name, config, vocabulary)
    try:
      again = config_of(keys)[1]
    except ValueError as error:
      lost[name] = [str(error)]
      continue
    lost[name] = _differences(config, again)
    if not lost[name]:
      return name, keys

  if not lost:
    raise ValueError(
      f"config: must be of {FAMILIES[str(family)].config.__name__} for"
      f" {family}, got {type(config).__name__}"
    )
  nearest = min(lost, key=lambda name: len(lost[name]))
  raise ValueError(
    "config: must be one that a published family can say; the nearest,"
    f" {nearest}, cannot say {', '.join(lost[nearest])}"
  )


def _written(name: str, config: Config, vocabulary: int):
  """The keys of a family, without asking whether they say it all."""
  family = FAMILIES[name]
  keys: dict[str, Any] = {
    "model_type": name,
    "architectures": [family.architecture],
  }
  keys |= family.vocabulary.say(vocabulary)
  for rule in family.rules:
    keys |= rule.write(config)
  return keys


def _differences(config: Config, other: Config) -> list[str]:
  """Leaves of a config that change numbers and that another has not."""
  ours, theirs = _meaning(config), _meaning(other)
  # A leaf that means nothing to the other is not there.
  return [
    f"{name}={value!r}"
    for name, value in ours.items()
    if name not in theirs or theirs[name] != value
  ]


def _meaning(config: Config) -> dict[str, Any]:
  """What a config computes: leaves with defaults resolved, unused ones gone."""
  found = {leaf.name: leaf.value for leaf in leaves(config)}
  for name in ("remat", "unroll", "dropout"):
    found.pop(name, None)
  if isinstance(config, DecoderConfig):
    return _of_decoder(config, found)
  if found.get("attention_bias", False) is None:
    found["attention_bias"] = found["use_bias"]
  if isinstance(config, EncoderDecoderConfig):
    found["head_width"] = config.head_width or config.width // config.heads
    if config.scale is None:
      found["scale"] = found["head_width"] ** -0.5
    if config.positions != "learned":
      del found["max_length"]
    if config.positions != "relative":
      del found["buckets"], found["max_distance"]
  return found


def _of_decoder(config: DecoderConfig, found: dict[str, Any]) -> dict[str, Any]:
  """The same of a decoder or an encoder."""
  for name in [*found]:
    if name.startswith("rotary.") or name == "layers":
      del found[name]

  found["kv_heads"] = config.kv_heads or config.heads
  found["head_width"] = config.head_width or config.width // config.heads
  if not config.experts.dense:
    del found["experts.dense_hidden"]
  if not config.latent.width:
    del found["latent.query_width"], found["latent.value_width"]
  elif config.latent.value_width is None:
    turned = config.rotary.features or 0
    found["latent.value_width"] = found["head_width"] - turned
  for name in ("attention_bias", "attention_output_bias"):
    value = getattr(config, name)
    found[name] = config.use_bias if value is None else value
  if config.scale is None:
    found["scale"] = found["head_width"] ** -0.5
  if config.positions != "learned":
    del found["max_length"], found["position_offset"]

  # By layer: patterns that mean the same are the same.
  found["layers"] = config.kinds
  if config.positions == "rotary":
    rotary = config.rotary
    encodings = [rotary.encoding(local=local) for local in (False, True)]
    width = found["head_width"]
    found["rotary"] = [
      dataclasses.replace(one, features=one.features or width)
      # Without windows the base of windowed layers means nothing.
      for one in encodings[: 1 if config.window is None else 2]
    ]
  return found
