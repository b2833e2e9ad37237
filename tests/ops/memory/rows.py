"""Memories under test, each beside its formulas written a second time.

A row is (rule, model, loss, link): the rule of attnjax, and what it should
mean as plain functions that share no line with it.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from attnjax import memory

__all__ = ["LOOPS", "PRESETS", "ROWS", "ROWS_AND_LOOPS", "Problem", "other"]

C, T, H, D, E = 3, 10, 2, 5, 7


def matrix(w, x):
  return x @ w["map_0"]


def perceptron(w, x):
  return gelu(x @ w["map_0"]) @ w["map_1"]


def deep(w, x):
  return gelu(gelu(x @ w["map_0"]) @ w["map_1"]) @ w["map_2"]


def gated(w, x):
  gate = x @ w["gate"]
  return (gate / (1 + jnp.exp(-gate)) * (x @ w["up"])) @ w["down"]


def residual(model):
  def answer(w, x):
    y = model(w, x)
    return x + w["gain"] * (y - y.mean()) / jnp.sqrt(y.var() + 1e-6)

  return answer


def gelu(x):
  inner = (2 / jnp.pi) ** 0.5 * (x + 0.044715 * x**3)
  return x * (1 + jnp.tanh(inner)) / 2


def powers(model):
  square = lambda x: jnp.outer(x, x).ravel() / 2**0.5
  return lambda w, x: model(w, jnp.concatenate([x, square(x)]))


def l2(y, v, _):
  return 0.5 * jnp.sum((y - v) ** 2)


def dot(y, v, _):
  return -jnp.sum(y * v)


def cubic(y, v, _):
  return jnp.sum(jnp.abs(y - v) ** 3) / 3


def huber(y, v, delta):
  miss = jnp.abs(y - v)
  return jnp.where(miss <= delta, miss**2 / 2, delta * (miss - delta / 2)).sum()


def plain(a):
  return a


def by_norm(a):
  norm = lambda x: (abs(x) ** 4).sum() ** (1 / 4)
  return {n: x / norm(x) ** 2 if x.any() else x for n, x in a.items()}


def as_shares(scale):
  share = lambda x: np.exp(x) / np.exp(x).sum(0)
  return lambda a: {n: scale * share(x) for n, x in a.items()}


m, o = memory, memory.Rule
PRESETS = {
  "linear_attention": (m.linear_attention(C), matrix, dot, plain),
  "mamba2": (m.mamba2(C), matrix, dot, plain),
  "kimi_delta_attention": (m.kimi_delta_attention(C), matrix, l2, plain),
  "delta_net": (m.delta_net(C), matrix, l2, plain),
  "gated_delta_net": (m.gated_delta_net(C), matrix, l2, plain),
  "ttt_linear": (m.ttt_linear(C), residual(matrix), l2, plain),
  "ttt_mlp": (m.ttt_mlp(C, 2), residual(perceptron), l2, plain),
  "titans": (m.titans(C, 2, 2), perceptron, l2, plain),
  "moneta": (m.moneta(C), perceptron, cubic, by_norm),
  "yaad": (m.yaad(C), perceptron, huber, plain),
  "memora": (m.memora(C, 2.0), perceptron, l2, as_shares(2.0)),
  "atlas": (m.atlas(C, 2), powers(matrix), l2, plain),
  "lact": (m.lact(C, 2), gated, dot, plain),
}
# Choices that no preset has together; what is stale and what is not.
TITANS = {"retention": m.decay(), "algorithm": m.momentum()}
STALE = {"gradients": "chunk", "chunk": C}
WHOLE = STALE | {"updates": "chunk"}
ODD = {
  "exact momentum": (o(**TITANS, chunk=C), matrix, l2, plain),
  "exact, all of it": (
    o(
      **(TITANS | {"objective": m.negative(m.l2()), "reads": "before"}),
      decayed=True,
      features=m.polynomial(2),
      chunk=C,
    ),
    powers(matrix),
    lambda *x: -l2(*x),
    plain,
  ),
  "window": (
    o(m.gated_mlp(2), m.l_p(3.0), **TITANS, **STALE, window=5),
    gated,
    cubic,
    plain,
  ),
  "window, threshold, muon": (
    o(
      m.mlp(3, 1),
      m.huber(None),
      m.decay(),
      m.muon(2),
      **STALE,
      window=2,
      reads="before",
    ),
    deep,
    huber,
    plain,
  ),
  "link, momentum": (
    o(m.matrix(), m.dot(), m.l_q(4.0), m.momentum(), **STALE, reads="before"),
    matrix,
    dot,
    by_norm,
  ),
  "muon without momentum": (
    o(algorithm=m.muon(1, has_momentum=False), **STALE),
    matrix,
    l2,
    plain,
  ),
  "dampened": (
    o(m.mlp(2, 2), m.l2(), m.decay(), m.momentum(dampened=True), **STALE),
    perceptron,
    l2,
    plain,
  ),
  "exact, dampened": (
    o(retention=m.decay(), algorithm=m.momentum(dampened=True), chunk=C),
    matrix,
    l2,
    plain,
  ),
  "channels, not decayed, before": (
    o(retention=m.channel_decay(), reads="before", chunk=C),
    matrix,
    l2,
    plain,
  ),
  "steps of chunks": (
    o(m.mlp(2, 2), m.huber(None), **TITANS, **WHOLE),
    perceptron,
    huber,
    plain,
  ),
  "steps of chunks, link": (
    o(m.matrix(), m.l2(), m.kl(3.0), m.muon(2), **WHOLE, reads="before"),
    matrix,
    l2,
    as_shares(3.0),
  ),
}
ROWS = PRESETS | ODD
# Beyond what a chunk can do: every token has its own gradient.
LOOPS = {
  "deep, every token": (o(m.mlp(3, 2), **TITANS), deep, l2, plain),
  "decayed link": (
    o(m.matrix(), m.huber(1.0), m.l_q(4.0), decayed=True),
    matrix,
    lambda y, v, _: huber(y, v, 1.0),
    by_norm,
  ),
  "window of every token": (
    o(m.gated_mlp(1), m.l2(), m.kl(), m.muon(3), window=4, decayed=True),
    gated,
    l2,
    as_shares(1.0),
  ),
  "cubic residual": (
    o(m.matrix(residual=True), m.l_p(3.0), m.none(), m.momentum()),
    residual(matrix),
    cubic,
    plain,
  ),
}
ROWS_AND_LOOPS = ROWS | LOOPS


class Problem:
  """Arrays in float64 for a rule; gates as wide as they may be.

  Args:
    rule: of the memory.
    lead: sizes of the batch axes.
    count: T.
  """

  def __init__(self, rule, lead=(), count=T, seed=0):
    rng = np.random.default_rng(seed)
    self.rule = rule
    width = D if rule.structure.residual else E
    draw = lambda *s: rng.standard_normal((*lead, count, H, *s))
    unit = lambda x: x / np.sqrt((x * x).sum(-1, keepdims=True))
    self.query, self.key = unit(draw(D)), unit(draw(D))
    self.value = draw(width)
    self.lead, self.width = lead, width
    self.gates = self._gates(rng)
    self.gain = None
    if rule.structure.residual:
      self.gain = jnp.asarray(rng.uniform(0.3, 1.5, (H, width)))
    shapes = rule.structure.shapes(rule.features.width(D), width)
    self.weights = {
      n: rng.standard_normal((H, i, o)) / i**0.5 for n, (i, o) in shapes.items()
    }

  def _gates(self, rng):
    shape = self.key.shape[:-1]
    draw = lambda low, high: rng.uniform(low, high, shape)
    rule, decay = self.rule, draw(0, 0.5)
    if rule.retention.by_channel:
      decay = rng.uniform(0, 0.5, self.key.shape)
    # Both ends of their range too: products of gates pass through 0.
    at = lambda t: (*[slice(None)] * len(self.lead), t)
    decay[at(1)], decay[at(4)] = 0, 1
    return memory.Gates(
      draw(0.1, 0.4),
      draw(0, 1) if rule.algorithm.has_momentum else None,
      decay if rule.retention.decays else None,
      draw(0.3, 1) if rule.objective.takes_threshold else None,
    )

  @property
  def inputs(self):
    """(query, key, value, gates), what a stream reads."""
    given = self.query, self.key, self.value, self.gates
    return jax.tree.map(jnp.asarray, given)

  def part(self, start, stop):
    """The same of some tokens."""
    own = (slice(None),) * len(self.lead) + (slice(start, stop),)
    return jax.tree.map(lambda x: x[own], self.inputs)

  def init(self, weights=None, dtype=jnp.float64, gain=None):
    """A memory that has read nothing."""
    gain = self.gain if gain is None else gain
    weights = jax.tree.map(
      jnp.asarray, self.weights if weights is None else weights
    )
    sizes = {"value_width": self.width, "weights": weights, "dtype": dtype}
    return memory.init(self.rule, self.lead, H, D, gain=gain, **sizes)


def other(rule, **changes):
  """The same rule with some choices changed."""
  return dataclasses.replace(rule, **changes)
