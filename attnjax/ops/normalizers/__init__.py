"""Normalizers: how a row of logits becomes a row of weights.

A normalizer is a frozen pytree, called as ``normalizer(logits)`` on
``*B H T S``, where -inf marks what is hidden. It returns the weights and the
log-sum-exp of the logits that count.
"""

from attnjax.ops.normalizers.choosing import top_k
from attnjax.ops.normalizers.pointwise import sigmoid
from attnjax.ops.normalizers.protocol import Normalizer
from attnjax.ops.normalizers.sharing import softmax, softmax_plus_one

__all__ = ["Normalizer", "sigmoid", "softmax", "softmax_plus_one", "top_k"]
