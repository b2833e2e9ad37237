"""Small random models of the `transformers` library, an oracle of ours.

Imported by slow tests alone: it needs `transformers` and PyTorch.
"""

import warnings

import numpy as np

__all__ = ["OPTIONS", "features_of", "logits_of", "make", "opened"]

SIZES = {
  "vocab_size": 37,
  "hidden_size": 24,
  "intermediate_size": 20,
  "num_hidden_layers": 3,
  "num_attention_heads": 6,
  "num_key_value_heads": 2,
  # Texts of the tests are longer.
  "max_position_embeddings": 16,
  "pad_token_id": 0,
  "bos_token_id": 1,
  "eos_token_id": 2,
}
GPT2 = {
  "vocab_size": 37,
  "n_embd": 24,
  "n_layer": 3,
  "n_head": 4,
  "n_positions": 64,
  "bos_token_id": 1,
  "eos_token_id": 2,
}
EXPERTS = {
  "num_experts": 5,
  "num_experts_per_tok": 2,
  "moe_intermediate_size": 8,  # its product of groups asks for fours
}
GPT_OSS = {
  "num_local_experts": 4,
  "num_experts_per_tok": 3,
  "head_dim": 8,
  "sliding_window": 6,
}
DEEPSEEK = {
  "n_routed_experts": 5,
  "num_experts_per_tok": 2,
  "moe_intermediate_size": 8,
  "num_key_value_heads": 6,
  "kv_lora_rank": 10,  # even, as all widths: the library views pairs
  "q_lora_rank": None,
  "qk_nope_head_dim": 6,
  "qk_rope_head_dim": 4,
  "v_head_dim": 5,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "rope_theta": 1000.0}
LLAMA3 = {
  "rope_type": "llama3",
  "rope_theta": 500.0,
  "factor": 8.0,
  "low_freq_factor": 1.0,
  "high_freq_factor": 4.0,
  "original_max_position_embeddings": 16,
}
LONGROPE = {
  "rope_type": "longrope",
  "rope_theta": 1000.0,
  "short_factor": [1.0, 1.1],
  "long_factor": [1.5, 3.0],
}

# (model type, options that are not the defaults of the small model).
OPTIONS = (
  ("llama", {}),
  ("llama", {"tie_word_embeddings": True, "hidden_act": "gelu"}),
  ("llama", {"attention_bias": True, "mlp_bias": True, "head_dim": 6}),
  ("llama", {"num_key_value_heads": 1, "rope_parameters": LLAMA3}),
  (
    "llama",
    {"rope_parameters": {"rope_type": "linear", "factor": 3.0}},
  ),
  (
    "llama",
    {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0}},
  ),
  ("llama", {"rope_parameters": YARN, "rms_norm_eps": 1e-3}),
  ("mistral", {"sliding_window": 7, "head_dim": 10}),
  ("mistral", {"sliding_window": None}),
  ("qwen2", {}),
  (
    "qwen2",
    {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1},
  ),
  ("qwen3", {"head_dim": 8, "attention_bias": True}),
  ("gemma", {"head_dim": 8, "num_key_value_heads": 1}),
  (
    "gemma2",
    {
      "head_dim": 8,
      "sliding_window": 6,
      "query_pre_attn_scalar": 20,
      "attn_logit_softcapping": 2.0,
      "final_logit_softcapping": 0.5,
    },
  ),
  (
    "gemma3_text",
    {
      "head_dim": 8,
      "sliding_window": 6,
      "num_hidden_layers": 8,
      "query_pre_attn_scalar": 20,
      "rope_parameters": {
        "full_attention": {
          "rope_type": "linear",
          "factor": 8.0,
          "rope_theta": 1e6,
        },
        "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
      },
    },
  ),
  ("phi3", {"sliding_window": 9}),
  (
    "phi3",
    {
      "rope_parameters": LONGROPE,
      "original_max_position_embeddings": 8,
      "max_position_embeddings": 64,
    },
  ),
  ("olmo2", {"head_dim": 4}),
  ("smollm3", {"num_hidden_layers": 6, "no_rope_layer_interval": 3}),
  ("mixtral", {"num_local_experts": 5, "num_experts_per_tok": 2}),
  (
    "mixtral",
    {"num_local_experts": 3, "num_experts_per_tok": 1, "sliding_window": 7},
  ),
  ("qwen2_moe", EXPERTS | {"shared_expert_intermediate_size": 11}),
  (
    "qwen2_moe",
    EXPERTS
    | {
      "shared_expert_intermediate_size": 11,
      "norm_topk_prob": True,
      "qkv_bias": False,
      "use_sliding_window": True,
      "sliding_window": 5,
      "max_window_layers": 2,
    },
  ),
  ("qwen3_moe", EXPERTS),
  (
    "qwen3_moe",
    EXPERTS
    | {
      "head_dim": 8,
      "norm_topk_prob": True,
      "use_sliding_window": True,
      "sliding_window": 6,
    },
  ),
  (
    "qwen2_moe",
    EXPERTS
    | {
      "shared_expert_intermediate_size": 11,
      "num_hidden_layers": 7,
      "decoder_sparse_step": 2,
      "mlp_only_layers": [5],
    },
  ),
  ("qwen3_moe", EXPERTS | {"mlp_only_layers": [0]}),
  ("deepseek_v2", DEEPSEEK),
  (
    "deepseek_v2",
    DEEPSEEK
    | {
      "first_k_dense_replace": 1,
      "n_shared_experts": 1,
      "q_lora_rank": 9,
      "attention_bias": True,
      "routed_scaling_factor": 2.5,
      "rope_parameters": YARN
      | {
        "mscale": 0.5,
        "mscale_all_dim": 0.707,
        "original_max_position_embeddings": 16,
      },
    },
  ),
  ("gpt_oss", GPT_OSS),
  ("gpt_oss", GPT_OSS | {"attention_bias": False, "rope_parameters": YARN}),
  ("gpt2", GPT2),
  ("gpt2", GPT2 | {"n_inner": 20, "activation_function": "relu"}),
  ("gpt_neox", {}),
  (
    "gpt_neox",
    {
      "use_parallel_residual": False,
      "attention_bias": False,
      "rope_parameters": {"rope_theta": 300.0, "partial_rotary_factor": 0.5},
      "hidden_act": "gelu_new",
    },
  ),
)


def make(
  folder, kind, options, seed=0, sizes=None, head="AutoModelForCausalLM"
):
  """A random model, saved to a folder; every parameter is drawn.

  Without sizes it has those that suit its family.
  """
  import torch
  import transformers

  if sizes is None:
    sizes = {} if kind == "gpt2" else SIZES
  if kind == "gpt_neox" and sizes:
    sizes = {k: v for k, v in SIZES.items() if k != "num_key_value_heads"}
    sizes |= {"num_attention_heads": 3}  # 8 features, of which 2 turn
  config = transformers.AutoConfig.for_model(kind, **(sizes | options))
  model = getattr(transformers, head).from_config(config).eval()
  torch.manual_seed(seed)
  with torch.no_grad():
    for name, parameter in model.named_parameters():
      # Scales near what they are, so that logits are of ordinary size.
      noise = 0.3 * torch.randn_like(parameter)
      parameter.copy_(parameter + noise if "norm" in name.lower() else noise)
  model.save_pretrained(folder)
  return model


def opened(folder, head="AutoModelForCausalLM"):
  """The model of a folder, opened by the library."""
  import transformers

  with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    return getattr(transformers, head).from_pretrained(folder).eval()


def logits_of(model, tokens):
  """float64 logits of int tokens ``B T``, as numpy."""
  import torch

  with torch.no_grad():
    out = model(torch.tensor(np.asarray(tokens)), use_cache=False).logits
  return out.numpy().astype(np.float64)


def features_of(model, tokens, real):
  """float64 features of an encoder of int tokens ``B T`` with padding."""
  import torch

  with torch.no_grad():
    mask = torch.tensor(real * 1)
    out = model(torch.tensor(np.asarray(tokens)), attention_mask=mask)
  return out.last_hidden_state.numpy().astype(np.float64)
