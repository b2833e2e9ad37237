"""Odd configurations of published encoders, drawn from the options of each."""

import numpy as np

__all__ = ["FAMILIES", "drawn_encoder"]

FAMILIES = ("bert", "roberta", "distilbert", "modernbert")
PLAIN = (
  *("gelu", "gelu_new", "gelu_pytorch_tanh", "gelu_fast", "quick_gelu"),
  *("relu", "relu2", "silu", "tanh"),
)
GATED = ("gelu", "gelu_new", "gelu_pytorch_tanh", "silu", "relu")


def drawn_encoder(kind, seed, length):
  """Options of one configuration of a family, the same for a seed.

  Args:
    kind: the family.
    seed: of the draw.
    length: of the texts, for which learned positions must suffice.
  """
  rng = np.random.default_rng([seed, FAMILIES.index(kind), 7])
  one = lambda *choices: choices[rng.integers(len(choices))]
  heads, share = one(1, 2, 3, 5), one(2, 3, 4, 7)
  if kind == "modernbert":  # pairs turn
    share = one(2, 4, 6)
  # A norm over two features is one of a difference: rounding decides.
  share = share if heads * share >= 6 else 6
  padding = one(0, 1, 3)
  sizes = {
    "width": heads * share,
    "layers": one(1, 2, 3, 4),
    "heads": heads,
    "hidden": one(7, 12, 19),
  }
  shared = {
    "vocab_size": one(37, 41),
    "pad_token_id": padding,
    "max_position_embeddings": length + padding + one(1, 2, 9),
  }
  if kind == "distilbert":
    names = ("dim", "n_layers", "n_heads", "hidden_dim")
    own = {
      "activation": one(*PLAIN),
      "sinusoidal_pos_embds": one(True, False),
    }
  else:
    names = ("hidden_size", "num_hidden_layers", "num_attention_heads")
    names = (*names, "intermediate_size")
    own = (
      _modernbert(one, sizes["layers"])
      if (kind == "modernbert")
      else _bert(one)
    )
  return shared | dict(zip(names, sizes.values(), strict=True)) | own


def _bert(one):
  """BERT and RoBERTa."""
  return {
    "hidden_act": one(*PLAIN),
    "type_vocab_size": one(1, 2, 3),
    "layer_norm_eps": one(1e-12, 1e-5, 0.1),
    "tie_word_embeddings": one(True, False),
  }


def _modernbert(one, depth):
  """ModernBERT."""
  types = ("full_attention", "sliding_attention")
  tokens = ("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id")
  found = dict.fromkeys(tokens, 2) | {
    "hidden_activation": one(*GATED) if one(*range(8)) else "tanh",
    "norm_eps": one(1e-5, 0.1),
    "norm_bias": not one(*range(12)),
    "mlp_bias": not one(*range(12)),
    "attention_bias": one(True, False),
    "local_attention": one(0, 1, 2, 5, 6, 80),
    "max_position_embeddings": 16,
  }
  if one(True, False):
    found["layer_types"] = [one(*types) for _ in range(depth)]
  else:
    found["global_attn_every_n_layers"] = one(1, 2, 3)
  if one(True, False):
    found["rope_parameters"] = {
      "full_attention": _rope(one),
      # Scaled one time of four, which is refused.
      "sliding_attention": _rope(one)
      if not one(*range(4))
      else {"rope_type": "default", "rope_theta": 77.0},
    }
  return found


def _rope(one):
  """Rotary positions of one kind of layers."""
  found = {"rope_type": one("default", "linear", "yarn", "dynamic")}
  found["rope_theta"] = one(50.0, 1e4)
  if found["rope_type"] != "default":
    found["factor"] = one(1.0, 2.0, 5.5)
  return found
