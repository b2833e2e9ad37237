"""Attention in float64 numpy, one logit at a time: the slow truth."""

import numpy as np


def attention(query, key, value, *, visible=None, bias=None, scale=None):
  """(out, logsumexp, weights) of ``B T H D`` arrays by explicit loops.

  visible and bias are ``B H T S``; None hides, or adds, nothing.
  """
  q, k, v = (np.asarray(x, np.float64) for x in (query, key, value))
  batch, length, heads, width = q.shape
  keys, shared, value_width = v.shape[1:]
  scale = width**-0.5 if scale is None else scale
  out = np.zeros((batch, length, heads, value_width))
  logsumexp = np.full((batch, heads, length), -np.inf)
  weights = np.zeros((batch, heads, length, keys))
  for b, h, t in np.ndindex(batch, heads, length):
    kv = h // (heads // shared)
    seen = [s for s in range(keys) if visible is None or visible[b, h, t, s]]
    logits = np.array(
      [
        scale * float(q[b, t, h] @ k[b, s, kv])
        + (0.0 if bias is None else float(bias[b, h, t, s]))
        for s in seen
      ]
    )
    if not len(logits) or np.isneginf(logits).all():
      continue
    top = logits.max()
    total = np.exp(logits - top).sum()
    logsumexp[b, h, t] = np.log(total) + top
    for s, logit in zip(seen, logits, strict=True):
      weights[b, h, t, s] = np.exp(logit - top) / total
      out[b, t, h] += weights[b, h, t, s] * v[b, s, kv]
  return out, logsumexp, weights
