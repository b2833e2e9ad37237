"""The scene task: a question about two independent relations.

Each thing of a scene has a place, a colour and a value; no two share a place,
and no two a colour. The question names a place and a colour: what value is at
that place, and what value has that colour?
"""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from attnjax import training
from attnjax.nn import Embedding, MultiHeadAttention
from experiments.heads.config import HeadsConfig

__all__ = ["RELATIONS", "SHAPES", "Answerer", "Batches", "loss", "without_head"]

RELATIONS = ("place", "colour")

# (heads, width of a head in units of `head_width`). The last is the ablation:
# one head with as many parameters as two.
SHAPES = {
  "two heads": (2, 1),
  "one head, as wide as each": (1, 1),
  "one head, as wide as both": (1, 2),
}


class Answerer(nnx.Module):
  """One layer of cross-attention from a question to a scene, linear readout.

  Without hidden layers after it the attention has to find the answers itself.
  """

  def __init__(self, config: HeadsConfig, shape: tuple[int, int], rngs):
    table = lambda rows: Embedding(rows, config.width, stddev=0.5, rngs=rngs)
    heads, times = shape
    self.asked = nnx.List([table(config.items) for _ in RELATIONS])
    self.things = nnx.List([table(config.items) for _ in RELATIONS])
    self.values = table(config.values)
    self.attention = MultiHeadAttention(
      config.width, heads, head_width=times * config.head_width, rngs=rngs
    )

    self.readout = nnx.Linear(
      config.width, len(RELATIONS) * config.values, rngs=rngs
    )

  def __call__(self, batch: Mapping, aux: tuple[str, ...] = ()):
    """Logits ``B relations values``; with `aux` (logits, aux)."""
    embed = lambda tables, x: sum(
      table(x[..., n]) for n, table in enumerate(tables)
    )

    # One query a row: both relations are in one embedding, summed.
    question = embed(self.asked, batch["asked"])[:, None]
    scene = embed(self.things, batch["things"]) + self.values(batch["values"])
    found = self.attention(question, scene, aux=aux)
    read, *extra = found if isinstance(found, tuple) else (found,)
    logits = self.readout(read[:, 0])
    logits = logits.reshape(len(logits), len(RELATIONS), -1)

    return (logits, *extra) if aux else logits


def without_head(model: Answerer, head: int) -> Answerer:
  """A copy of the model with a head ablated: its output weights are 0."""
  kernel = model.attention.output.kernel
  silent = nnx.clone(model)
  silent.attention.output.kernel = nnx.Param(kernel[...].at[head].set(0))
  return silent


def loss(model: Answerer, batch: Mapping, key):
  """(summed cross-entropy in nats, answers, hits by relation and of both)."""
  del key  # nothing is random
  logits = model(batch)
  weights = jnp.ones(batch["answers"].shape)
  right = jnp.argmax(logits, -1) == batch["answers"]
  hits = {name: right[:, n].sum() for n, name in enumerate(RELATIONS)}
  both = {"both": right.all(-1).sum()}
  nats, count = training.cross_entropy(logits, batch["answers"], weights)
  # Extra sums are divided by the answers, of which there are two a row.
  scale = len(RELATIONS)

  return nats, count, {name: scale * n for name, n in (hits | both).items()}


@dataclasses.dataclass(frozen=True)
class Batches:
  """`batches(step)`: new scenes at every step, without end."""

  config: HeadsConfig
  seed: int

  def __call__(self, step: int) -> dict[str, np.ndarray]:
    """Scenes of one step.

    Returns:
      `things` ``B S 2``, place and colour of each; `values` ``B S``; `asked`,
      `answers` and `at`, the index of the thing asked for, ``B 2`` each.
    """
    draws = np.random.default_rng((self.seed, step))
    size, items = self.config.batch_size, self.config.items
    # A permutation a relation: no two things share a place, or a colour.
    order = np.broadcast_to(np.arange(items, dtype=np.int32), (size, items))
    things = np.stack([draws.permuted(order, axis=1) for _ in RELATIONS], -1)
    values = draws.integers(
      self.config.values, size=(size, items), dtype=np.int32
    )

    asked = draws.integers(items, size=(size, len(RELATIONS)), dtype=np.int32)
    at = (things == asked[:, None]).argmax(1)
    answers = np.take_along_axis(values, at, axis=1)

    return {
      "things": things,
      "values": values,
      "asked": asked,
      "answers": answers,
      "at": at.astype(np.int32),
    }


def make(config: HeadsConfig, shape: tuple[int, int], seed: int) -> Answerer:
  """A new model."""
  return jax.jit(lambda: Answerer(config, shape, nnx.Rngs(seed)))()
