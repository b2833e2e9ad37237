"""Odd configurations of published decoders, drawn from the options of each.

Widths that are odd where that is legal, heads of another width than their
share, every ratio of groups, windows, scalings, biases and activations.
"""

import numpy as np

__all__ = ["FAMILIES", "drawn_options"]

ACTIVATIONS = ("silu", "gelu", "gelu_new", "gelu_pytorch_tanh", "relu")
SCALINGS = ("default", "linear", "dynamic", "yarn", "llama3", "longrope")


def drawn_options(kind, seed):
  """Options of one configuration of a family, the same for a seed."""
  rng = np.random.default_rng([seed, FAMILIES.index(kind)])
  if kind == "gpt2":
    return _gpt2(rng)
  heads = int(rng.choice([1, 2, 3, 4, 6]))
  share = int(rng.choice([2, 4, 6, 8]))
  # A norm over two features is one of a difference: rounding decides.
  share = share if heads * share >= 6 else 6
  options = {
    "vocab_size": int(rng.choice([37, 41])),
    "hidden_size": heads * share,
    "intermediate_size": int(rng.choice([7, 12, 19])),
    "num_hidden_layers": int(rng.integers(1, 5)),
    "num_attention_heads": heads,
    "max_position_embeddings": int(rng.choice([8, 16, 64])),
    "tie_word_embeddings": bool(rng.integers(2)),
    "hidden_act": str(rng.choice(ACTIVATIONS)),
    "initializer_range": 0.3,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
  }
  if kind == "deepseek_v2":
    return options | _deepseek(rng, heads)
  if kind != "gpt_neox":
    divisors = [n for n in range(1, heads + 1) if not heads % n]
    options["num_key_value_heads"] = int(rng.choice(divisors))
    options["rms_norm_eps"] = float(rng.choice([1e-6, 1e-2]))
  head = share
  if kind in ("mixtral", "qwen2_moe", "qwen3_moe", "gpt_oss"):
    options["hidden_size"] = 12 if heads in (1, 3, 6) else 8 * heads
    head = options["hidden_size"] // heads
  if kind in FAMILIES_WITH_HEADS and (
    kind not in ("llama", "mistral") or rng.integers(2)
  ):
    head = int(rng.choice([2, 4, 6, 10]))
    options["head_dim"] = head
  limit = options["max_position_embeddings"]
  options |= _rope(kind, rng, head, limit) | _own(kind, rng)
  return options


FAMILIES_WITH_HEADS = (
  *("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text"),
  *("olmo2", "smollm3", "mixtral", "qwen2_moe", "qwen3_moe", "gpt_oss"),
)


def _rope(kind, rng, head, limit):
  """Rotary positions with one of the scalings."""
  one = lambda: _scaling(rng, head, limit, kind)
  if kind != "gemma3_text":
    return {"rope_parameters": one()}
  local = {"rope_type": "default", "rope_theta": 77.0}
  if rng.integers(3) == 0:
    local = one()
  return {
    "rope_parameters": {"full_attention": one(), "sliding_attention": local}
  }


def _scaling(rng, head, limit, kind):
  """Parameters of rotary positions."""
  name = str(rng.choice(SCALINGS[::5] if kind == "phi3" else SCALINGS))
  found = {"rope_type": name, "rope_theta": float(rng.choice([50.0, 1e4]))}
  factor = float(rng.choice([1.0, 2.0, 5.5]))
  original = int(rng.choice([4, 8]))
  if name in ("linear", "dynamic"):
    found |= {"factor": factor}
  elif name == "llama3":
    found |= {"factor": factor, "original_max_position_embeddings": original}
    found |= {"low_freq_factor": 1.0, "high_freq_factor": 3.5}
  elif name == "yarn":
    found |= {"factor": factor}
    extra = {
      "original_max_position_embeddings": original,
      "beta_fast": 12.0,
      "beta_slow": 2.0,
      "truncate": False,
      "attention_factor": 1.3,
      "mscale": 0.7,
      "mscale_all_dim": 0.4,
    }
    found |= {k: v for k, v in extra.items() if rng.integers(2)}
  elif name == "longrope":
    pairs = head // 2
    found |= {
      "short_factor": rng.uniform(1, 2, pairs).round(2).tolist(),
      "long_factor": rng.uniform(2, 6, pairs).round(2).tolist(),
    }
    extra = {
      "original_max_position_embeddings": original,
      "attention_factor": 1.2,
      "factor": 3.0,
    }
    found |= {k: v for k, v in extra.items() if rng.integers(2)}
  # Scalings by pair have a number for each that turns: all, here.
  if name == "default" and not head % 4 and rng.integers(2):
    found["partial_rotary_factor"] = 0.5
  elif kind == "gpt_neox":  # else a quarter, which may be less than a pair
    found["partial_rotary_factor"] = 1.0
  return found


def _own(kind, rng):
  """Options that a family has of its own."""
  flip = lambda: bool(rng.integers(2))
  window = int(rng.choice([1, 3, 8]))
  layers = lambda *kinds: [str(rng.choice(kinds)) for _ in range(4)]
  sliding = ("sliding_attention", "full_attention")
  found = {}
  if kind in ("llama", "qwen3", "smollm3", "olmo2", "qwen3_moe", "gpt_oss"):
    found["attention_bias"] = flip()
  if kind in ("llama", "smollm3"):
    found["mlp_bias"] = flip()
  if kind in ("mistral", "mixtral", "phi3"):
    found["sliding_window"] = window if flip() else None
  if kind in ("qwen2", "qwen3", "qwen2_moe", "qwen3_moe"):
    found |= {
      "use_sliding_window": flip(),
      "sliding_window": window,
      "max_window_layers": int(rng.integers(0, 4)),
    }
  if kind in ("gemma2", "gemma3_text", "gpt_oss"):
    found["sliding_window"] = window
  typed = kind in ("gemma2", "gemma3_text", "gpt_oss")
  if typed or found.get("use_sliding_window"):
    typed = kind in ("qwen2", "qwen3") or typed
  if typed and flip():
    found |= {"num_hidden_layers": 4, "layer_types": layers(*sliding)}
  if kind.startswith("gemma"):
    found["hidden_activation"] = _gelu(rng)
    found["hidden_act"] = "gelu_pytorch_tanh"
  if kind == "gemma3_text":
    found["hidden_act"] = None
  if kind in ("gemma2", "gemma3_text"):
    found |= {
      "query_pre_attn_scalar": int(rng.choice([5, 20])),
      "final_logit_softcapping": 1.5 if flip() else None,
    }
  if kind == "gemma2":
    found["attn_logit_softcapping"] = 2.0 if flip() else None
  if kind == "gemma3_text":
    found["use_bidirectional_attention"] = not rng.integers(4)
  if kind == "smollm3":
    found |= {
      "num_hidden_layers": 4,
      "no_rope_layers": [int(rng.integers(2)) for _ in range(4)],
      "use_sliding_window": flip(),
      "sliding_window": window,
    }
  if kind == "mixtral":
    found |= {"num_local_experts": 3, "num_experts_per_tok": 2}
    found |= {"intermediate_size": 12}  # its product of groups asks for fours
  if kind in ("qwen2_moe", "qwen3_moe"):
    found |= {
      "num_experts": 5,
      "num_experts_per_tok": int(rng.integers(1, 4)),
      "moe_intermediate_size": 8,
      "norm_topk_prob": flip(),
      "decoder_sparse_step": int(rng.choice([1, 1, 1, 2])),
    }
  if kind == "qwen2_moe":
    found |= {"shared_expert_intermediate_size": 11, "qkv_bias": flip()}
  if kind == "gpt_oss":
    found |= {"num_local_experts": 4, "num_experts_per_tok": 2}
    found |= {"hidden_act": "silu", "intermediate_size": 12}
  if kind == "gpt_neox":
    found |= {
      "layer_norm_eps": float(rng.choice([1e-5, 1e-2])),
      "use_parallel_residual": flip(),
      "attention_bias": flip(),
    }
  return found


def _gelu(rng):
  """What Gemma has, or one time of four what it has not."""
  return "gelu_pytorch_tanh" if rng.integers(4) else "relu"


def _deepseek(rng, heads):
  """DeepSeek-V2, whose keys and values come from a latent."""
  flip = lambda: bool(rng.integers(2))
  turned = int(rng.choice([2, 4, 6]))
  depth = int(rng.integers(1, 5))
  limit = int(rng.choice([8, 16, 64]))
  rope = _scaling(rng, turned, limit, "deepseek_v2")
  rope.pop("partial_rotary_factor", None)
  return {
    "hidden_size": heads * int(rng.choice([4, 8])),  # its groups ask for fours
    "num_hidden_layers": depth,
    "num_key_value_heads": heads,
    "max_position_embeddings": limit,
    "rope_parameters": rope,
    "rms_norm_eps": float(rng.choice([1e-6, 1e-2])),
    "q_lora_rank": None if flip() else int(rng.choice([3, 8, 9])),
    "kv_lora_rank": int(rng.choice([4, 6, 10])),
    "qk_rope_head_dim": turned,
    "qk_nope_head_dim": int(rng.choice([2, 4, 6])),
    "v_head_dim": int(rng.choice([1, 4, 5, 12])),
    "attention_bias": flip(),
    "n_routed_experts": 6,
    "num_experts_per_tok": int(rng.integers(1, 7)),
    "n_shared_experts": int(rng.integers(1, 4)),
    "moe_intermediate_size": int(rng.choice([4, 8])),
    "first_k_dense_replace": int(rng.integers(0, depth)),
    "routed_scaling_factor": float(rng.choice([1.0, 2.5])),
  } | (
    {"topk_method": "group_limited_greedy", "n_group": 2, "topk_group": 1}
    if rng.integers(5) == 0
    else {}
  )


def _gpt2(rng):
  """GPT-2 has names of its own."""
  heads = int(rng.choice([1, 3, 5]))
  return {
    "vocab_size": 41,
    "n_embd": heads * int(rng.choice([3, 5])),
    "n_layer": int(rng.integers(1, 4)),
    "n_head": heads,
    "n_positions": 64,
    "n_inner": None if rng.integers(2) else 13,
    "activation_function": str(rng.choice(ACTIVATIONS)),
    "layer_norm_epsilon": float(rng.choice([1e-5, 1e-2])),
    "scale_attn_weights": bool(rng.integers(4)),
    "scale_attn_by_inverse_layer_idx": not rng.integers(4),
    "tie_word_embeddings": bool(rng.integers(2)),
    "bos_token_id": 1,
    "eos_token_id": 2,
  }


FAMILIES = (
  *("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text"),
  *("phi3", "olmo2", "smollm3", "mixtral", "qwen2_moe", "qwen3_moe"),
  *("gpt_oss", "gpt2", "gpt_neox", "deepseek_v2"),
)
