"""The decoder of the language model as one writes it in PyTorch, eager.

`nn.Embedding`, `nn.Linear`, `nn.RMSNorm` and `scaled_dot_product_attention`.
"""

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from experiments.timing.torch_timing import Answer, prepared

__all__ = ["prepare"]

_EPSILON = 1e-6  # as in Flax


class Block(nn.Module):
  """x + attention(norm(x)), then x + feed_forward(norm(x))."""

  def __init__(self, heads: int, kv_heads: int, sizes: tuple[int, int, int]):
    super().__init__()
    width, head_width, hidden = sizes
    self.head_width = head_width
    self.grouped = heads != kv_heads  # the kernel wants to be told

    linear = lambda n, m: nn.Linear(n, m, bias=False)
    self.attention_norm = nn.RMSNorm(width, eps=_EPSILON)
    self.query = linear(width, heads * head_width)
    self.key = linear(width, kv_heads * head_width)
    self.value = linear(width, kv_heads * head_width)
    self.output = linear(heads * head_width, width)
    self.feed_forward_norm = nn.RMSNorm(width, eps=_EPSILON)
    self.up = linear(width, hidden)
    self.down = linear(hidden, width)

  def forward(self, x, mask, turn):
    """``B T M`` of ``B T M``."""
    y = self.attention_norm(x)
    query, key, value = (
      layer(y).unflatten(-1, (-1, self.head_width)).transpose(1, 2)
      for layer in (self.query, self.key, self.value)
    )

    # A dense mask, for `is_causal` takes neither documents nor a window.
    heads = F.scaled_dot_product_attention(
      _rotate(query, turn),
      _rotate(key, turn),
      value,
      attn_mask=mask,
      enable_gqa=self.grouped,
    )

    x = x + self.output(heads.transpose(1, 2).flatten(-2))
    hidden = F.relu(self.up(self.feed_forward_norm(x)))
    return x + self.down(hidden * hidden)


class Decoder(nn.Module):
  """Embedding, blocks, norm, and the embedding again as the readout."""

  def __init__(self, weights: Mapping[str, np.ndarray], window: int | None):
    super().__init__()
    depth, width, heads, head_width = weights["query"].shape
    kv_heads, hidden = weights["key"].shape[2], weights["up"].shape[2]
    self.window, self.head_width = window, head_width

    self.embed = nn.Embedding(*weights["embed"].shape)
    sizes = (width, head_width, hidden)
    self.blocks = nn.ModuleList(
      [Block(heads, kv_heads, sizes) for _ in range(depth)]
    )
    self.norm = nn.RMSNorm(width, eps=_EPSILON)

  def forward(self, tokens, segment_ids):
    """Logits of the next token at every position."""
    at = torch.arange(tokens.shape[-1])
    turn = _angles(at, self.head_width)
    mask = self._mask(at, segment_ids)
    x = self.embed(tokens)
    for block in self.blocks:
      x = block(x, mask, turn)
    return self.norm(x) @ self.embed.weight.T

  def _mask(self, at, segment_ids):
    """Boolean mask ``B 1 T T``: causal, in one document, in the window."""
    distance = at[:, None] - at[None, :]
    seen = distance >= 0
    if self.window is not None:
      seen = seen & (distance <= self.window)
    same = segment_ids[:, :, None] == segment_ids[:, None, :]
    return (seen & same)[:, None]


def prepare(arrays: str, window: int | None) -> Answer:
  """Loss and gradient of the model, from a file of parameters and a batch."""
  with np.load(arrays) as file:
    data = dict(file)
  model = Decoder(data, window)
  _load(model, data)
  tensor = lambda name: torch.from_numpy(data[name])
  # `cross_entropy` takes classes as int64.
  tokens, targets = tensor("tokens").long(), tensor("targets").long()
  ids, weights = tensor("segment_ids"), tensor("weights").float()
  parameters = list(model.parameters())  # the embedding first: see `_witness`

  def step() -> tuple:
    logits = model(tokens, ids)
    nats = F.cross_entropy(
      logits.flatten(0, 1), targets.flatten(), reduction="none"
    )
    loss = (nats * weights.flatten()).sum() / weights.sum()
    return (loss.detach(), *torch.autograd.grad(loss, parameters))

  return prepared(step, _witness, note="dense mask")


def _load(model: Decoder, data: Mapping[str, np.ndarray]) -> None:
  """Copies parameters; `nn.Linear` stores its matrix as (out, in)."""
  with torch.no_grad():
    model.embed.weight.copy_(torch.from_numpy(data["embed"]))
    model.norm.weight.copy_(torch.from_numpy(data["norm"]))

    for layer, block in enumerate(model.blocks):
      for name in ("attention_norm", "feed_forward_norm"):
        place = getattr(block, name).weight
        place.copy_(torch.from_numpy(data[name][layer]))
      for name in ("query", "key", "value", "output", "up", "down"):
        place = getattr(block, name).weight
        kernel = torch.from_numpy(data[name][layer])
        # Kernels of ours have heads as an axis: M H D, and H D M back.
        place.copy_(kernel.reshape(place.shape[1], place.shape[0]).T)


def _angles(at, width):
  """Cosine and sine of rotary angles, each ``T D/2``."""
  # The base and the pairing of features are those of `positions.rotary`.
  frequency = 10_000.0 ** (-torch.arange(0, width, 2) / width)
  angle = at[:, None] * frequency
  return angle.cos(), angle.sin()


def _rotate(x, turn):
  """Rotates the pairs (i, i + D/2) of features of ``B H T D``."""
  cos, sin = turn
  first, second = x.chunk(2, dim=-1)
  turned = (first * cos - second * sin, first * sin + second * cos)
  return torch.cat(turned, dim=-1)


def _witness(results: tuple) -> list[list[float]]:
  """Loss, norm of the whole gradient, and of that of the embedding."""
  loss, *gradient = results
  squares = [float(x.square().sum()) for x in gradient]
  return [[float(loss)], [sum(squares) ** 0.5], [squares[0] ** 0.5]]
