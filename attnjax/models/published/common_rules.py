"""Rules and names that tables of decoders and of encoders begin with."""

from attnjax.models.published.keys import Same

__all__ = ["GATED_NAMES", "PLAIN_NAMES", "SIZES"]

SIZES = (
  Same("hidden_size", "width"),
  Same("num_hidden_layers", "depth"),
  Same("num_attention_heads", "heads"),
  Same("intermediate_size", "hidden"),
)
# Activations, as published files and as our modules call them.
GATED_NAMES = (
  ("silu", "swiglu"),
  ("swish", "swiglu"),
  ("gelu_pytorch_tanh", "geglu"),
  ("gelu_new", "geglu"),
  ("gelu", "geglu_erf"),
  ("relu", "reglu"),
)
PLAIN_NAMES = (
  ("gelu_new", "gelu"),
  ("gelu_pytorch_tanh", "gelu"),
  ("gelu_fast", "gelu"),
  ("gelu", "gelu_erf"),
  ("quick_gelu", "quick_gelu"),
  ("relu", "relu"),
  ("relu2", "squared_relu"),
  ("silu", "silu"),
  ("swish", "silu"),
)
