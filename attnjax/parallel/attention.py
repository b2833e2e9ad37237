"""The three ways in which tokens that are divided attend to each other."""

import dataclasses

from attnjax.parallel.gather import Gather
from attnjax.parallel.ring import Ring
from attnjax.parallel.sharded import ShardedAttention

__all__ = ["AllGatherAttention", "RingAttention", "UlyssesAttention"]


@dataclasses.dataclass(frozen=True)
class RingAttention(ShardedAttention):
  """Keys and values go round the devices; each holds T / n of everything.

  A step that the mask leaves empty on every device is neither sent nor
  computed, be that known beforehand (a window) or found out when the program
  runs (documents); the next keys are on their way while those that are here
  are computed with, backward as forward.

  Args:
    mesh: of devices, with automatic axes.
    axis: of the mesh, along which the tokens are divided.
    layout: the order in which tokens, positions and segment ids come: see
      `permute`. "zigzag" and "striped" share causal work evenly.
    batch: axes of the mesh that divide the batch, if any.
    heads: axes of the mesh that divide the heads, if any. Axes that nothing is
      divided by compute the same.

  Raises:
    ValueError: if an axis is none of the mesh, or is used twice.

  Called as `attend`, and given to a module as ``attend=``:

  >>> import jax, jax.numpy as jnp
  >>> from attnjax import attend, masks, parallel
  >>> mesh = parallel.make_mesh(jax.devices()[:1], sequence=1)
  >>> x = jax.random.normal(jax.random.key(0), (6, 1, 4))
  >>> out = RingAttention(mesh, "sequence")(x, x, x, mask=masks.causal())
  >>> bool(jnp.allclose(out, attend(x, x, x, mask=masks.causal()), atol=1e-6))
  True

  Reference:
    Liu, Zaharia, Abbeel, "Ring Attention with Blockwise Transformers for
    Near-Infinite Context", 2023, arXiv 2310.01889.
  """

  def steps(self, query, key, value, *, implementation=None, **options):
    """The steps that a call goes round, where that is known; see `work`.

    At step d a device meets the keys of the one d before it; what comes next is
    sent once a step, but for the last. As `work`, it computes nothing.
    """
    table = self._known(query, key, value, implementation, options)[1]
    return self.courier().knowing(table.codes).steps

  def courier(self) -> Ring:
    """The ring."""
    return Ring(self.axis, self._shards, (*self._axes()[0], self.axis))


@dataclasses.dataclass(frozen=True)
class AllGatherAttention(ShardedAttention):
  """Each device gathers all keys and values for its own queries.

  One collective instead of n - 1: the better choice where keys and values are
  small (few key heads, short sequences). Queries, output and all that is kept
  for the backward pass are T / n a device; the gathered keys are not.

  Args:
    mesh: as of `RingAttention`.
    axis: as of `RingAttention`.
    layout: as of `RingAttention`.
    batch: as of `RingAttention`.
    heads: as of `RingAttention`.

  Raises:
    ValueError: as `RingAttention`.

  >>> import jax, jax.numpy as jnp
  >>> from attnjax import attend, parallel
  >>> mesh = parallel.make_mesh(jax.devices()[:1], sequence=1)
  >>> x = jax.random.normal(jax.random.key(0), (6, 1, 4))
  >>> out = AllGatherAttention(mesh, "sequence")(x, x, x)
  >>> bool(jnp.allclose(out, attend(x, x, x), atol=1e-6))
  True

  Reference:
    Llama Team, "The Llama 3 Herd of Models", 2024, arXiv 2407.21783, section
    3.3.2.
  """

  def courier(self) -> Gather:
    """The gathering."""
    return Gather(self.axis)


@dataclasses.dataclass(frozen=True)
class UlyssesAttention(ShardedAttention):
  """Tokens of all heads become heads of all tokens, and back.

  Two all-to-all collectives, of queries, keys and values and of the output;
  between them the engine runs as on one device. The devices of the axis divide
  the key heads; where those are fewer, `RingAttention` serves the rest, alone
  or over a second axis, with ``heads=`` this one.

  Args:
    mesh: as of `RingAttention`.
    axis: as of `RingAttention`.
    layout: as of `RingAttention`; nothing is gained by another than
      "contiguous", for the work is shared by heads.
    batch: as of `RingAttention`.
    heads: as of `RingAttention`; the axis divides what these leave.

  Raises:
    ValueError: as `RingAttention`, or if the key heads do not divide.

  >>> import jax, jax.numpy as jnp
  >>> from attnjax import attend, parallel
  >>> mesh = parallel.make_mesh(jax.devices()[:1], sequence=1)
  >>> x = jax.random.normal(jax.random.key(0), (6, 2, 4))
  >>> out = UlyssesAttention(mesh, "sequence")(x, x, x)
  >>> bool(jnp.allclose(out, attend(x, x, x), atol=1e-6))
  True

  Reference:
    Jacobs et al., "DeepSpeed Ulysses: System Optimizations for Enabling
    Training of Extreme Long Sequence Transformer Models", 2023, arXiv
    2309.14509.
  """

  def courier(self) -> None:
    """Nobody: all keys of its heads are on a device."""
    return None

  def _axes(self) -> tuple[tuple[str, ...], ...]:
    """Mesh axes that divide b, h, t and s: the tokens' are the heads'."""
    batch, heads, tokens, _ = super()._axes()
    return batch, heads + tokens, (), ()
