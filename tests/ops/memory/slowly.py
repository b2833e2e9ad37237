"""The memory as its equations say it, a token at a time, in numpy.

It shares no line with attnjax: gradients are those of a loss by plain weights.
"""

import jax
import numpy as np

__all__ = ["slowly"]


def slowly(row, weights, queries, keys, values, gates, gain=None):
  """(answers, A, S) of one head; the gates are a dict of arrays of T."""
  rule, network, loss, link = row
  # Beside the weights, and never written.
  model = lambda w, x: network({**w, "gain": gain}, x)
  gradient = jax.grad(lambda w, k, v, d: loss(model(w, k), v, d))
  a = {n: np.array(w, np.float64) for n, w in weights.items()}
  s = {n: np.zeros_like(w) for n, w in a.items()}
  start, answers = a, []
  delta = gates.get("threshold", np.ones(len(keys)))
  for t in range(len(keys)):
    found = a
    if t % rule.chunk == 0:
      start = a
    point = start if rule.gradients == "chunk" else a
    if rule.decayed:
      point = kept(gates["decay"][t], point)
    looked, now = range(max(0, t - rule.window + 1), t + 1), t
    if rule.updates == "chunk":
      begun = t - t % rule.chunk
      looked, now = range(begun, t + 1), slice(begun, t + 1)
    if rule.updates == "token" or (t + 1) % rule.chunk == 0:
      update = dict.fromkeys(a, 0)
      for j in looked:
        share = 1 if rule.algorithm.iterations else gates["rate"][j]
        if rule.algorithm.dampened:
          share = share * (1 - gates["momentum"][j])
        g = gradient(link(point), keys[j], values[j], delta[j])
        update = {n: u - share * np.asarray(g[n]) for n, u in update.items()}
      whole = isinstance(now, slice)
      mean = {n: g[now].mean(0) if whole else g[now] for n, g in gates.items()}
      a, s = stepped(rule, a, s, update, mean)
    read = a if rule.reads == "after" else found
    answers.append(np.asarray(model(link(read), queries[t])))
  return np.array(answers), a, s


def stepped(rule, a, s, update, gates):
  """The equations of `attnjax.memory.Rule`, once."""
  eta, alpha = gates.get("momentum", 0), gates.get("decay", 0)
  s = {n: eta * s[n] + u for n, u in update.items()}
  step = s
  if rule.algorithm.iterations:
    turned = lambda x: newton_schulz(x, rule.algorithm.iterations)
    step = {n: gates["rate"] * turned(u) for n, u in s.items()}
  a = kept(alpha, a)
  return {n: a[n] + step[n] for n in a}, s


def kept(alpha, weights):
  """What decays by a number, or each row of it by its own."""
  return {n: ((1 - alpha) * w.T).T for n, w in weights.items()}


def newton_schulz(x, iterations):
  """Singular values towards 1, by those values alone."""
  left, values, right = np.linalg.svd(x, full_matrices=False)
  values = values / np.sqrt((values**2).sum())
  for _ in range(iterations):
    values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
  return (left * values) @ right
