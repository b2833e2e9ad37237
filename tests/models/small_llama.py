"""A small published Llama of drawn numbers, as its files are."""

import json

import numpy as np
import pytest

from attnjax.models import PublishedTokenizer

__all__ = ["LLAMA", "one_word", "published_tensors", "write"]


V, M, L, H, K, D, F = 11, 6, 2, 2, 1, 4, 5


LLAMA = {
  "model_type": "llama",
  "architectures": ["LlamaForCausalLM"],
  "vocab_size": V,
  "hidden_size": M,
  "num_hidden_layers": L,
  "num_attention_heads": H,
  "num_key_value_heads": K,
  "head_dim": D,
  "intermediate_size": F,
  "rms_norm_eps": 1e-5,
  "rope_theta": 100.0,
  "max_position_embeddings": 32,
  "tie_word_embeddings": False,
  "torch_dtype": "float32",
}


def published_tensors():
  """Tensors of a Llama under their published names: ``[out, in]``."""
  rng = np.random.default_rng(0)
  draw = lambda *shape: rng.normal(0, 0.4, shape).astype(np.float32)
  tensors = {
    "model.embed_tokens.weight": draw(V, M),
    "model.norm.weight": draw(M),
    "lm_head.weight": draw(V, M),
  }
  for i in range(L):
    block = f"model.layers.{i}"
    tensors |= {
      f"{block}.input_layernorm.weight": draw(M),
      f"{block}.post_attention_layernorm.weight": draw(M),
      f"{block}.self_attn.q_proj.weight": draw(H * D, M),
      f"{block}.self_attn.k_proj.weight": draw(K * D, M),
      f"{block}.self_attn.v_proj.weight": draw(K * D, M),
      f"{block}.self_attn.o_proj.weight": draw(M, H * D),
      f"{block}.mlp.gate_proj.weight": draw(F, M),
      f"{block}.mlp.up_proj.weight": draw(F, M),
      f"{block}.mlp.down_proj.weight": draw(M, F),
    }
  return tensors


def write(folder, tensors, config=LLAMA, **changes):
  """A published directory."""
  folder.mkdir(exist_ok=True)
  safetensors = pytest.importorskip("safetensors.numpy")
  safetensors.save_file(tensors, folder / "model.safetensors")
  (folder / "config.json").write_text(json.dumps(config | changes))
  return folder


def one_word():
  """A tokenizer of one token."""
  tokenizers = pytest.importorskip("tokenizers")
  words = tokenizers.models.WordLevel({"a": 0}, unk_token="a")
  return PublishedTokenizer(tokenizers.Tokenizer(words))
