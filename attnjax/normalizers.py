"""Normalizers: how a row of logits becomes a row of weights.

A normalizer is a frozen pytree, called as ``normalizer(logits)`` on
``*B H T S``, where -inf marks what is hidden. It returns the weights and the
log-sum-exp of the logits that count.

  Normalizer: Base of normalizers: how logits become weights; see `softmax`.
  sigmoid: Sigmoid of each logit, weight[s] = 1 / (1 + exp(-logit[s] - bias)).
  softmax: Softmax, weight[s] = exp(logit[s]) / (Σ_s exp(logit[s]) + exp(sink)).
  softmax_plus_one: Softmax off by one, weight[s] = exp(logit[s]) / (1 + Σ_s
    exp(logit[s])).
  top_k: Softmax over the k largest logits of each row; all others count as
    hidden.
"""

from attnjax.ops.normalizers import *  # noqa: F403
from attnjax.ops.normalizers import __all__ as __all__
