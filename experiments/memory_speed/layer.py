"""The memory layer of titans-pytorch, written with `attnjax.memory`.

Two things of theirs need a translation. Their loss is a mean over features, so
our rate is 2 / D of theirs. A chunk that takes one step has the gates of the
mean of its tokens, where ours has the mean of their gates; here every token of
such a chunk is given the gate of the mean, and the two agree.
"""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from attnjax import memory

__all__ = ["LayerCase", "arrays", "layer", "layer_and_gradient"]

_EXPANSION = 4
# Steps so small that gradients a whole sequence old do no harm; forgetting
# that takes about 20 tokens.
_BIASES = {"rate": -5.0, "momentum": 0.0, "decay": -3.0}


@dataclasses.dataclass(frozen=True)
class LayerCase:
  """One layer on one batch.

  Args:
    batch: B.
    length: T.
    chunk: C, tokens whose gradients are taken at one place.
    updates: "token", a step a token; "chunk", one a chunk.
    heads: H.
    head_width: D.
    residual: whether the memory answers its query plus a normalised change.

  >>> LayerCase(2, 128, 16, "chunk").rule.updates
  'chunk'
  """

  batch: int
  length: int
  chunk: int
  updates: Literal["token", "chunk"]
  heads: int = 2
  head_width: int = 32
  residual: bool = False

  @property
  def width(self) -> int:
    """M: width of the layer."""
    return self.heads * self.head_width

  @property
  def rule(self) -> memory.Rule:
    """The rule of Titans, set as titans-pytorch has it."""
    rule = memory.titans(chunk=self.chunk, expansion=_EXPANSION)
    # Theirs reads a token after it is written.
    structure = dataclasses.replace(rule.structure, residual=self.residual)
    return dataclasses.replace(
      rule, structure=structure, updates=self.updates, reads="after"
    )


def arrays(case: LayerCase, seed: int) -> dict[str, np.ndarray]:
  """Inputs ``x``, the ``cotangent`` of the output, and parameters, by name."""
  rng = np.random.default_rng((seed, case.length, case.batch))
  width, heads, narrow = case.width, case.heads, case.head_width

  def draw(*shape: int, scale: float = 1.0) -> np.ndarray:
    drawn: np.ndarray = rng.standard_normal(shape, dtype=np.float32)
    return drawn * np.float32(scale)

  scaled = lambda *shape: draw(*shape, scale=shape[-2] ** -0.5)

  tokens = (case.batch, case.length, width)
  found: dict[str, np.ndarray] = {}
  for name in ("x", "cotangent"):
    found[name] = draw(*tokens)
  for name in ("query", "key", "value", "combine"):
    found[name] = scaled(width, width)
  for name in ("rate", "momentum", "decay", "gate"):
    found[name] = scaled(width, heads)
  for name, bias in _BIASES.items():
    found[f"{name}_bias"] = np.full(heads, bias, np.float32)
  for name in ("asked_norm", "stored_norm"):
    found[name] = np.ones(width, np.float32)

  hidden = _EXPANSION * narrow
  found["map_0"] = scaled(heads, narrow, hidden)
  found["map_1"] = scaled(heads, hidden, narrow)
  return found


def layer(case: LayerCase, given: dict, x):
  """The layer: ``B T M`` of ``B T M``, given the parameters of `arrays`."""
  asked = _normed(x) * given["asked_norm"][None, None]
  stored = _normed(x) * given["stored_norm"][None, None]
  headed = lambda y: y.reshape((*y.shape[:-1], case.heads, case.head_width))

  state = memory.init(
    case.rule,
    (case.batch,),
    case.heads,
    case.head_width,
    weights={name: given[name] for name in ("map_0", "map_1")},
  )
  _, answers = memory.stream(
    state,
    headed(asked @ given["query"]),
    headed(stored @ given["key"]),
    headed(stored @ given["value"]),
    _gates(case, given, stored),
  )

  answers = answers * jax.nn.sigmoid(asked @ given["gate"])[..., None]
  return answers.reshape(x.shape) @ given["combine"]


def layer_and_gradient(case: LayerCase, given: dict):
  """(output, gradient by x, gradient by each parameter)."""
  given = dict(given)
  x, cotangent = given.pop("x"), given.pop("cotangent")
  call = lambda given, x: layer(case, given, x)
  out, pullback = jax.vjp(call, given, x)
  by_given, by_x = pullback(cotangent)
  return out, by_x, by_given


def _gates(case: LayerCase, given: dict, stored) -> memory.Gates:
  """Rate, momentum and decay of each token and head, each ``B T H``."""
  bias = lambda name: given[f"{name}_bias"][None, None]
  gate = lambda name, z: jax.nn.sigmoid(z @ given[name] + bias(name))
  # Their loss is a mean over the D features, ours half of the sum.
  rate = 2 / case.head_width * gate("rate", stored)
  if case.updates == "token":
    return memory.Gates(rate, gate("momentum", stored), gate("decay", stored))

  # One step a chunk: every token gets the gate of the chunk's mean.
  chunks = (case.batch, -1, case.chunk, case.width)
  means = stored.reshape(chunks).mean(2)
  spread = lambda name: jnp.repeat(gate(name, means), case.chunk, axis=1)
  return memory.Gates(rate, spread("momentum"), spread("decay"))


def _normed(x):
  """RMS norm without a gain, with PyTorch's default epsilon."""
  square = (x * x).mean(-1, keepdims=True)
  return x * jax.lax.rsqrt(square + float(np.finfo(np.float32).eps))
