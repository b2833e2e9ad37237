"""GGUF files of the Llama family: config, tensors and tokenizer of one file.

Keys and tensors get the names of the Hugging Face layout, so that one table
serves both. Quantised blocks become float32: each has its own scale (and least
value), and the product is exact in float32.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from attnjax.extras import needs_extra
from attnjax.models.published.tokenizer import PublishedTokenizer

__all__ = ["GgufFile"]

_KEYS = {
  "block_count": "num_hidden_layers",
  "context_length": "max_position_embeddings",
  "embedding_length": "hidden_size",
  "feed_forward_length": "intermediate_size",
  "attention.head_count": "num_attention_heads",
  "attention.head_count_kv": "num_key_value_heads",
  "attention.layer_norm_rms_epsilon": "rms_norm_eps",
  "attention.key_length": "head_dim",
  "rope.freq_base": "rope_theta",
  "vocab_size": "vocab_size",
}
# Said by other keys too, and compared with them.
_IMPLIED = ("attention.value_length", "rope.dimension_count")
_TENSORS = {
  "token_embd": "model.embed_tokens",
  "output_norm": "model.norm",
  "output": "lm_head",
}
_OF_BLOCK = {
  "attn_norm": "input_layernorm",
  "ffn_norm": "post_attention_layernorm",
  "attn_q": "self_attn.q_proj",
  "attn_k": "self_attn.k_proj",
  "attn_v": "self_attn.v_proj",
  "attn_output": "self_attn.o_proj",
  "ffn_gate": "mlp.gate_proj",
  "ffn_up": "mlp.up_proj",
  "ffn_down": "mlp.down_proj",
}


class GgufFile:
  """One GGUF file, whose tensors are read when they are asked for.

  Args:
    path: of the file.

  Raises:
    ValueError: the file is broken, or of another family than Llama, or says
      what no table has.
    ImportError: gguf is missing: `pip install 'attnjax[published]'`.

  >>> import tempfile
  >>> from pathlib import Path
  >>> with tempfile.NamedTemporaryFile(suffix=".gguf") as file:
  ...   GgufFile(Path(file.name))
  Traceback (most recent call last):
    ...
  ValueError: ... is no whole GGUF file...
  """

  def __init__(self, path: Path):
    with needs_extra("published", "GGUF files need gguf"):
      import gguf

    self._path, self._dequantize = path, gguf.quants.dequantize
    try:
      reader = gguf.GGUFReader(path)
      self._fields = {name: f.contents() for name, f in reader.fields.items()}
    # What the reader meets in a broken file it raises as it is.
    except (ValueError, IndexError, KeyError, OSError, TypeError) as error:
      raise ValueError(
        f"{path} is no whole GGUF file ({error!r}); get it again, for its"
        " download may have stopped early"
      ) from error
    self._tensors = {_name(t.name): t for t in reader.tensors}

  def keys(self) -> dict[str, Any]:
    """The keys of a config.json that the file stands for."""
    family = self._fields.get("general.architecture")
    if family != "llama":
      raise ValueError(
        f"{self._path}: general.architecture must be 'llama', the one family"
        f" that is read of GGUF, got {family!r}; safetensors of others are read"
      )

    found: dict[str, Any] = {
      "model_type": family,
      "tie_word_embeddings": "lm_head.weight" not in self._tensors,
    }
    given = {
      name.removeprefix("llama."): value
      for name, value in self._fields.items()
      if name.startswith("llama.")
    }
    for name, value in given.items():
      if name in _KEYS:
        found[_KEYS[name]] = value
      elif name not in _IMPLIED:
        raise ValueError(
          f"{self._path}: llama.{name}={value!r} is no option that is honoured"
        )

    width = found.get("head_dim") or (
      found["hidden_size"] // found["num_attention_heads"]
    )
    for name in _IMPLIED:
      if given.get(name, width) != width:
        raise ValueError(
          f"{self._path}: llama.{name} must be the width of a head, {width},"
          f" got {given[name]}"
        )
    found.setdefault("vocab_size", self.shape("model.embed_tokens.weight")[0])
    self._heads = {
      "q_proj": found["num_attention_heads"],
      "k_proj": found.get("num_key_value_heads", found["num_attention_heads"]),
    }
    return found

  def names(self) -> set[str]:
    """Names of all tensors, of the Hugging Face layout."""
    return set(self._tensors)

  def shape(self, name: str) -> tuple[int, ...]:
    """The shape of a tensor, without reading it."""
    # The file has the fastest axis first.
    return tuple(int(n) for n in reversed(self._tensors[name].shape))

  def dtype(self, name: str) -> np.dtype:
    """float32, whatever a tensor is in the file."""
    del name
    return np.dtype(np.float32)

  def read(self, name: str, out: np.ndarray) -> None:
    """Reads a tensor into an array of its shape."""
    out[...] = self.get(name)

  def get(self, name: str) -> np.ndarray:
    """A tensor in float32, its heads paired as in the published weights."""
    tensor = self._tensors[name]
    array = self._dequantize(tensor.data, tensor.tensor_type)
    array = array.reshape(self.shape(name))
    for part, heads in self._heads.items():
      if name.endswith(f"{part}.weight"):
        return _half_pairs(array, heads)
    return array

  def tokenizer(self) -> PublishedTokenizer:
    """The tokenizer of the file.

    Raises:
      ValueError: it splits words in a way that is not known here.
    """

    def get(name: str) -> Any:
      return self._fields.get(f"tokenizer.ggml.{name}")

    tokens, kinds = get("tokens"), get("token_type")
    special = {
      f"{name}_token": tokens[number]
      for name in ("bos", "eos")
      if (number := get(f"{name}_token_id")) is not None
    }
    stop = get("eos_token_id")
    return PublishedTokenizer(
      _engine(self._path, self._fields, tokens, kinds),
      () if stop is None else (stop,),
      self._fields.get("tokenizer.chat_template"),
      special,
    )


def _name(theirs: str) -> str:
  """The Hugging Face name of a tensor; unknown ones stay, to be refused."""
  module, _, suffix = theirs.rpartition(".")
  if module in _TENSORS:
    return f"{_TENSORS[module]}.{suffix}"
  block, _, part = module.partition(".")[2].partition(".")
  if module.startswith("blk.") and part in _OF_BLOCK:
    return f"model.layers.{block}.{_OF_BLOCK[part]}.{suffix}"
  return theirs


def _half_pairs(array: np.ndarray, heads: int) -> np.ndarray:
  """Rows of queries or keys whose rotary pairs are i and i + D / 2 again.

  The file has them side by side, 2i and 2i + 1.
  """
  rows, inputs = array.shape
  pairs = array.reshape(heads, rows // heads // 2, 2, inputs)
  return np.swapaxes(pairs, 1, 2).reshape(rows, inputs)


def _engine(path: Path, fields: Mapping[str, Any], tokens, kinds) -> Any:
  """The tokenizer of the `tokenizers` library."""
  with needs_extra("published", "published tokenizers need tokenizers"):
    import tokenizers

  how = [fields.get(f"tokenizer.ggml.{name}") for name in ("model", "pre")]
  before = {"gpt-2": [], "smollm": [tokenizers.pre_tokenizers.Digits(True)]}
  if how[0] != "gpt2" or how[1] not in before:
    raise ValueError(
      f"{path}: tokenizer.ggml.model and pre must be 'gpt2' and one of"
      f" {[*before]}, got {how}"
    )

  merges = [tuple(m.split(" ")) for m in fields["tokenizer.ggml.merges"]]
  vocabulary = {token: i for i, token in enumerate(tokens)}
  engine = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, merges))
  bytes_ = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
  engine.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
    [*before[how[1]], bytes_]
  )
  engine.decoder = tokenizers.decoders.ByteLevel()
  # Kind 3 is a control token: no text is split into it but its own name.
  engine.add_special_tokens(
    [t for t, kind in zip(tokens, kinds, strict=True) if kind == 3]
  )
  return engine
