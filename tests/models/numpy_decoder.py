"""A decoder of every option in float64 numpy, from its definition."""

import math

import numpy as np

__all__ = ["logits_of"]


def _norm(x, scale, bias, kind, eps):
  if kind == "layer":
    x = x - x.mean(-1, keepdims=True)
  x = x / np.sqrt((x * x).mean(-1, keepdims=True) + eps)
  return x * (scale + (kind == "rms_plus_one")) + bias


def _gelu_erf(x):
  return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def _gelu(x):
  inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
  return 0.5 * x * (1 + np.tanh(inner))


def _sigmoid(x):
  return 1 / (1 + np.exp(-x))


PLAIN = {
  "gelu": _gelu,
  "gelu_erf": _gelu_erf,
  "quick_gelu": lambda x: x * _sigmoid(1.702 * x),
  "relu": lambda x: np.maximum(x, 0),
  "silu": lambda x: x * _sigmoid(x),
  "squared_relu": lambda x: np.maximum(x, 0) ** 2,
}
GATES = {"geglu": "gelu", "geglu_erf": "gelu_erf", "reglu": "relu"}
GATES |= {"swiglu": "silu"}


def _turn(x, position, frequency, gain, *, interleaved):
  """One head's features at one position, pair by pair."""
  out, half = x.copy(), len(frequency)
  for i, f in enumerate(frequency):
    a, b = (2 * i, 2 * i + 1) if interleaved else (i, i + half)
    c, s = gain * np.cos(position * f), gain * np.sin(position * f)
    out[a], out[b] = x[a] * c - x[b] * s, x[a] * s + x[b] * c
  return out


def _rotated(x, config, kind, frequencies):
  """Queries or keys ``T H D``, rotated as the layer says."""
  if config.positions != "rotary" or kind.endswith("unrotated"):
    return x
  rotary, width = config.rotary, x.shape[-1]
  features = rotary.features or width
  frequency, gain = frequencies(kind, features)
  out = x.copy()
  for t, row in enumerate(x):
    for h, head in enumerate(row):
      out[t, h, :features] = _turn(
        head[:features], t, frequency, gain, interleaved=rotary.interleaved
      )
  return out


def _attention(x, layer, config, kind, frequencies):
  """Attention of ``T M``, one query, head and key at a time."""
  get = lambda name: layer.get(f"attention.{name}", 0.0)
  projected = [
    np.einsum("tm,mhd->thd", x, get(f"{n}.kernel")) + get(f"{n}.bias")
    for n in ("query", "key", "value")
  ]
  for i, name in enumerate(("query_norm", "key_norm")):
    if config.query_key_norm != "none":
      y = projected[i]
      flat = y if config.query_key_norm == "head" else y.reshape(len(y), -1)
      scale = get(f"{name}.norm.scale")
      normed = _norm(flat, scale, 0.0, config.norm, config.epsilon)
      projected[i] = normed.reshape(y.shape)
  query, key, value = projected
  query, key = (_rotated(y, config, kind, frequencies) for y in (query, key))

  length, heads, width = query.shape
  group = heads // key.shape[1]
  scale = config.scale or width**-0.5
  out = np.zeros((length, heads, value.shape[-1]))
  for t in range(length):
    first = 0
    if config.window is not None and kind.startswith("window"):
      first = max(0, t - config.window)
    for h in range(heads):
      logits = scale * key[first : t + 1, h // group] @ query[t, h]
      if config.softcap is not None:
        logits = config.softcap * np.tanh(logits / config.softcap)
      if config.positions == "alibi":
        slope = 2.0 ** (-8 * (h + 1) / heads)
        logits = logits - slope * (t - np.arange(first, t + 1))
      powers = np.exp(logits)
      sink = np.exp(get("sink")[h]) if config.sinks else 0.0
      weights = powers / (powers.sum() + sink)
      out[t, h] = weights @ value[first : t + 1, h // group]
  out = np.einsum("thd,hdm->tm", out, get("output.kernel"))
  return out + get("output.bias")


def _feed_forward(x, layer, config, expert=(), where="feed_forward"):
  """A feed-forward layer, or that of one expert of a stack."""

  def linear(name, x):
    bias = layer.get(f"{where}.{name}.bias")
    change = x @ layer[f"{where}.{name}.kernel"][expert]
    return change if bias is None else change + bias[expert]

  up = linear("up", x)
  if config.activation == "clipped_swiglu":
    gate = np.minimum(linear("gate", x), 7.0)
    gate = gate * _sigmoid(1.702 * gate)
    return linear("down", gate * (1 + np.clip(up, -7.0, 7.0)))
  if config.activation in GATES:
    gate = PLAIN[GATES[config.activation]](linear("gate", x))
    return linear("down", gate * up)
  return linear("down", PLAIN[config.activation](up))


def _mixture(x, layer, config):
  """Experts, one token at a time."""
  experts, out = config.experts, np.zeros_like(x)
  router = layer["feed_forward.router.kernel"]
  logits = x @ router + layer.get("feed_forward.router.bias", 0.0)
  for t, row in enumerate(logits):
    powers = np.exp(row - row.max())
    weights = powers / powers.sum()
    chosen = np.argsort(-row)[: experts.active]
    total = weights[chosen].sum() if experts.normalized else 1.0
    for e in chosen:
      change = _feed_forward(x[t], layer, config, e)
      out[t] += experts.scale * weights[e] / total * change
  if experts.shared:
    shared = _feed_forward(x, layer, config, (), "feed_forward.shared")
    gate = layer.get("feed_forward.shared_gate.kernel")
    out += shared if gate is None else _sigmoid(x @ gate) * shared
  return out


def _block(x, layer, config, kind, frequencies):
  def norm(name, x):
    scale, bias = layer[f"{name}.scale"], layer.get(f"{name}.bias", 0.0)
    return _norm(x, scale, bias, config.norm, config.epsilon)

  attend = lambda x: _attention(x, layer, config, kind, frequencies)
  layers = _mixture if config.experts.count else _feed_forward
  feed = lambda x: layers(x, layer, config)
  if config.order == "parallel":
    return (
      x + attend(norm("attention_norm", x)) + feed(norm("feed_forward_norm", x))
    )
  if config.order == "parallel_one":
    y = norm("attention_norm", x)
    return x + attend(y) + feed(y)
  for name, f in (("attention", attend), ("feed_forward", feed)):
    if config.order == "pre":
      x = x + f(norm(f"{name}_norm", x))
    elif config.order == "post":
      x = norm(f"{name}_norm", x + f(x))
    elif config.order == "output":
      x = x + norm(f"{name}_norm", f(x))
    else:
      x = x + norm(f"{name}_output_norm", f(norm(f"{name}_norm", x)))
  return x


def logits_of(config, weights, tokens, frequencies):
  """Logits ``T V`` of one row of tokens.

  `weights` are by dotted path, those of blocks with a leading axis of layers;
  `frequencies(kind, features)` gives (frequency of each pair, gain).
  """
  weights = {k: np.asarray(v, np.float64) for k, v in weights.items()}
  x = weights["embed.embedding"][tokens] * config.embedding_scale
  if config.positions == "learned":
    first = config.position_offset
    x = x + weights["position_table.embedding"][first : first + len(tokens)]

  for i, kind in enumerate(config.kinds):
    layer = {
      k.removeprefix("blocks."): v[i]
      for k, v in weights.items()
      if k.startswith("blocks.")
    }
    x = _block(x, layer, config, kind, frequencies)

  bias = weights.get("norm.bias", 0.0)
  x = _norm(x, weights["norm.scale"], bias, config.norm, config.epsilon)
  table = "embed" if config.tied else "readout"
  logits = x @ weights[f"{table}.embedding"].T
  if config.logits_softcap is not None:
    logits = config.logits_softcap * np.tanh(logits / config.logits_softcap)
  return logits
