"""Attention: one call, checked once, given to an implementation."""

from attnjax.ops.attention.arguments import Aux
from attnjax.ops.attention.attend import attend
from attnjax.ops.attention.blockwise import Blockwise
from attnjax.ops.attention.drop_in import dot_product_attention
from attnjax.ops.attention.explain import Explanation, Verdict, explain
from attnjax.ops.attention.fused import Fused
from attnjax.ops.attention.partial import Partial, merge
from attnjax.ops.attention.weights import attention_weights

__all__ = [
  "Aux",
  "Blockwise",
  "Explanation",
  "Fused",
  "Partial",
  "Verdict",
  "attend",
  "attention_weights",
  "dot_product_attention",
  "explain",
  "merge",
]
