"""Keys of a published config.json and the leaves of our config that they mean.

A rule reads keys into leaves and writes leaves back to keys. What no rule reads
is refused by name, unless it is known to change no number.
"""

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any, Protocol, runtime_checkable

__all__ = [
  "Biases",
  "Choice",
  "Derived",
  "Fixed",
  "Idle",
  "InnerWidth",
  "InverseSquareRoot",
  "Keys",
  "Nullable",
  "Off",
  "PaddedLength",
  "RootOfWidth",
  "Rule",
  "Same",
  "leaf",
]

# Keys that change no number of a forward pass: names, tokens, training, caches,
# what a call returns, and how text is drawn.
_INERT = frozenset(
  (
    *("_attn_implementation", "_attn_implementation_autoset"),
    *("_name_or_path", "_sliding_window_pattern", "architectures"),
    *("attention_probs_dropout_prob", "cls_token_id", "directionality"),
    *("dropout", "hidden_dropout_prob", "output_past", "qa_dropout"),
    *("pooler_fc_size", "pooler_num_attention_heads", "pooler_num_fc_layers"),
    *("pooler_size_per_head", "pooler_type", "seq_classif_dropout"),
    *("attention_dropout", "attn_pdrop", "auto_map", "begin_suppress_tokens"),
    *("bos_token_id", "cache_implementation", "chunk_size_feed_forward"),
    *("classifier_dropout", "decoder_start_token_id", "diversity_penalty"),
    *("do_sample", "dtype", "embd_pdrop", "encoder_no_repeat_ngram_size"),
    *("eos_token_id", "finetuning_task", "forced_bos_token_id"),
    *("forced_eos_token_id", "gradient_checkpointing", "hidden_dropout"),
    *("id2label", "initializer_range", "is_decoder", "is_llama_config"),
    *("label2id", "length_penalty", "max_length", "model_type", "n_ctx"),
    *("no_repeat_ngram_size", "num_beam_groups", "num_beams", "num_labels"),
    *("num_return_sequences", "output_attentions", "output_hidden_states"),
    *("output_router_logits", "pad_token_id", "prefix", "pretraining_tp"),
    *("problem_type", "reorder_and_upcast_attn", "repetition_penalty"),
    *("resid_pdrop", "return_dict", "router_aux_loss_coef", "sep_token_id"),
    *("summary_activation", "summary_first_dropout", "summary_type"),
    *("summary_proj_to_labels", "summary_use_proj", "suppress_tokens"),
    *("task_specific_params", "temperature", "tokenizer_class", "top_k"),
    *("top_p", "torch_dtype", "transformers.js_config", "typical_p"),
    *("transformers_version", "unk_token_id", "unsloth_fixed"),
    *("unsloth_version", "use_cache"),
  )
)


class Keys:
  """A config.json while it is read: which keys were asked for.

  Args:
    values: of the file.
    model_type: of the file, for errors.
    tensors: names in the files of weights; empty where they are not known.

  >>> keys = Keys({"hidden_size": 8, "router": 1}, "llama")
  >>> keys.get("hidden_size"), keys.get("head_dim", 4)
  (8, 4)
  >>> keys.refuse_unread(())
  Traceback (most recent call last):
    ...
  ValueError: config.json: router=1 is no option that is honoured for llama...
  """

  def __init__(
    self,
    values: Mapping[str, Any],
    model_type: str,
    tensors: Collection[str] = (),
  ):
    self.values, self.model_type = dict(values), model_type
    self.tensors = tensors
    self.asked: set[str] = set()

  def get(self, name: str, default: Any = None) -> Any:
    """The value of a key; the default where there is none, or null."""
    self.asked.add(name)
    value = self.values.get(name)
    return default if value is None else value

  def need(self, name: str) -> Any:
    """The value of a key that has no default.

    Raises:
      ValueError: the key is missing.
    """
    value = self.get(name)
    if value is None:
      raise ValueError(
        f"config.json: {name} must be given for {self.model_type}, for the"
        " tables have no default of it"
      )
    return value

  def refuse_unread(self, ignore: tuple[str, ...]) -> None:
    """Raises ValueError for a key that nobody asked for and that may matter."""
    for name, value in self.values.items():
      unread = name not in self.asked and name not in _INERT
      # Null, false and nothing say that an option is not used.
      if unread and name not in ignore and value not in (None, False, {}, []):
        raise ValueError(
          f"config.json: {name}={value!r} is no option that is honoured for"
          f" {self.model_type}, so the numbers might be others; give"
          f" ignore=({name!r},) if it changes none"
        )


@runtime_checkable
class Rule(Protocol):
  """What some keys of a config.json mean.

  >>> isinstance(Same("hidden_size", "width"), Rule)
  True
  """

  def read(self, keys: Keys) -> dict[str, Any]:
    """Values of leaves, by dotted name."""

  def write(self, config: Any) -> dict[str, Any]:
    """Values of keys."""


def leaf(config: Any, name: str) -> Any:
  """The value of a leaf by its dotted name.

  >>> from attnjax.models import DecoderConfig
  >>> leaf(DecoderConfig(), "rotary.base")
  10000.0
  """
  for part in name.split("."):
    config = getattr(config, part)
  return config


@dataclasses.dataclass(frozen=True)
class Same:
  """A key that is a leaf; without a default it has to be there.

  Args:
    key: of config.json.
    name: of the leaf.
    default: where the key is missing or null.
    other: another name of the key, in files of other versions.
  """

  key: str
  name: str
  default: Any = None
  other: str | None = None

  def read(self, keys: Keys) -> dict[str, Any]:
    """The value, or the default."""
    default = self.default
    if self.other is not None:
      default = keys.get(self.other, default)
    if default is None:
      return {self.name: keys.need(self.key)}
    return {self.name: keys.get(self.key, default)}

  def write(self, config: Any) -> dict[str, Any]:
    """The leaf under the name of the key."""
    return {self.key: _resolved(config, self.name)}


@dataclasses.dataclass(frozen=True)
class Derived(Same):
  """A key that follows from others where it is missing or null."""

  def read(self, keys: Keys) -> dict[str, Any]:
    """The value, or None, which lets our config derive the same."""
    return {self.name: keys.get(self.key)}


@dataclasses.dataclass(frozen=True)
class Nullable:
  """A key whose null means none, and whose absence means a default."""

  key: str
  name: str
  default: Any = None

  def read(self, keys: Keys) -> dict[str, Any]:
    """The value, None, or the default."""
    value = keys.get(self.key)
    return {self.name: value if self.key in keys.values else self.default}

  def write(self, config: Any) -> dict[str, Any]:
    """The leaf, null for None."""
    return {self.key: leaf(config, self.name)}


def _resolved(config: Any, name: str) -> Any:
  """A leaf, of which None says that it follows from others."""
  if name == "kv_heads":
    return config.kv_heads or config.heads
  if name == "head_width":
    return config.head_width or config.width // config.heads
  return leaf(config, name)


@dataclasses.dataclass(frozen=True)
class Fixed:
  """Leaves that a family always has so, and says nothing of."""

  leaves: tuple[tuple[str, Any], ...]

  def read(self, keys: Keys) -> dict[str, Any]:
    """The leaves."""
    del keys
    return dict(self.leaves)

  def write(self, config: Any) -> dict[str, Any]:
    """Nothing: `save` compares what is read again."""
    del config
    return {}


@dataclasses.dataclass(frozen=True)
class Idle:
  """A key that the library does not use in this family."""

  key: str

  def read(self, keys: Keys) -> dict[str, Any]:
    """Nothing; the key is read."""
    keys.get(self.key)
    return {}

  def write(self, config: Any) -> dict[str, Any]:
    """Nothing."""
    del config
    return {}


@dataclasses.dataclass(frozen=True)
class Off:
  """A key of an option that is not honoured, with the values that mean off."""

  key: str
  values: tuple[Any, ...]

  def read(self, keys: Keys) -> dict[str, Any]:
    """Nothing; raises ValueError where the option is on."""
    value = keys.get(self.key)
    if value is not None and value not in self.values:
      raise ValueError(
        f"config.json: {self.key}={value!r} is not honoured for"
        f" {keys.model_type}; expected {self.values[0]!r}"
      )
    return {}

  def write(self, config: Any) -> dict[str, Any]:
    """The first value that means off."""
    del config
    return {self.key: self.values[0]}


@dataclasses.dataclass(frozen=True)
class Choice:
  """A key whose values have other names as a leaf."""

  key: str
  name: str
  values: tuple[tuple[Any, Any], ...]
  default: Any

  def read(self, keys: Keys) -> dict[str, Any]:
    """Our name of the value; raises ValueError for an unknown one."""
    given, known = keys.get(self.key, self.default), dict(self.values)
    if given not in known:
      raise ValueError(
        f"config.json: {self.key} must be one of {[*known]}, got {given!r}"
      )
    return {self.name: known[given]}

  def write(self, config: Any) -> dict[str, Any]:
    """The first value that means ours; none where the family has none."""
    ours = leaf(config, self.name)
    found = [theirs for theirs, value in self.values if value == ours]
    return {self.key: found[0]} if found else {}


@dataclasses.dataclass(frozen=True)
class InnerWidth:
  """A feed-forward width that is four times the model width where null."""

  key: str
  width: str

  def read(self, keys: Keys) -> dict[str, Any]:
    """The width."""
    return {"hidden": keys.get(self.key, 4 * keys.need(self.width))}

  def write(self, config: Any) -> dict[str, Any]:
    """The width."""
    return {self.key: config.hidden}


@dataclasses.dataclass(frozen=True)
class PaddedLength:
  """Rows of a table of positions, of which the first are for padding.

  Args:
    key: of the number of rows.
    padding: the token of padding where no key has it; position 0 has the row
      after that of its number.
  """

  key: str
  padding: int

  def read(self, keys: Keys) -> dict[str, Any]:
    """The rows before position 0, and those from it on."""
    first = keys.get("pad_token_id", self.padding) + 1
    rows = keys.get(self.key, 512)
    return {"position_offset": first, "max_length": rows - first}

  def write(self, config: Any) -> dict[str, Any]:
    """The number of rows and the token of padding."""
    rows = config.max_length + config.position_offset
    return {self.key: rows, "pad_token_id": config.position_offset - 1}


@dataclasses.dataclass(frozen=True)
class Biases:
  """One key for the biases of several maps."""

  key: str
  names: tuple[str, ...]
  default: bool

  def read(self, keys: Keys) -> dict[str, Any]:
    """The same value for every map."""
    value = keys.get(self.key, self.default)
    return dict.fromkeys(self.names, value)

  def write(self, config: Any) -> dict[str, Any]:
    """The value of the first map."""
    value = leaf(config, self.names[0])
    return {self.key: config.use_bias if value is None else value}


@dataclasses.dataclass(frozen=True)
class InverseSquareRoot:
  """A key whose inverse square root is the scale of the logits."""

  key: str

  def read(self, keys: Keys) -> dict[str, Any]:
    """The scale."""
    return {"scale": float(keys.need(self.key)) ** -0.5}

  def write(self, config: Any) -> dict[str, Any]:
    """The key; a whole number, as published configs have it."""
    if config.scale is None:
      return {self.key: config.head_width or config.width // config.heads}
    return {self.key: round(config.scale**-2)}


@dataclasses.dataclass(frozen=True)
class RootOfWidth:
  """Embeddings that are scaled by the root of the model width."""

  width: str = "hidden_size"

  def read(self, keys: Keys) -> dict[str, Any]:
    """The scale, which no key has."""
    return {"embedding_scale": float(keys.need(self.width)) ** 0.5}

  def write(self, config: Any) -> dict[str, Any]:
    """Nothing: `save` compares what is read again."""
    del config
    return {}
