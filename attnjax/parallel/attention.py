"""The three sharded attentions: ring, all-gather and Ulysses."""

import dataclasses

from attnjax.parallel.collectives import Gather, Ring
from attnjax.parallel.sharded_attention import ShardedAttention

__all__ = ["AllGatherAttention", "RingAttention", "UlyssesAttention"]


@dataclasses.dataclass(frozen=True)
class RingAttention(ShardedAttention):
  """Ring attention: keys and values are passed round, queries stay.

  Each of n devices holds T / n of everything, keys and values included. A step
  whose tiles are empty on every device is neither sent nor computed, whether
  that is known beforehand (a window) or only when the program runs
  (documents). The next keys are on their way while the present ones are
  computed with, backward as forward.

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
    """Steps of the ring at which some device has tiles to compute.

    At step d a device meets the keys of the device d before it; keys are sent
    once a step, but for the last. As `work`, it computes nothing.

    Args:
      query: as of a call, and so all that follows.
      key: as of a call.
      value: as of a call.
      implementation: as of a call.
      **options: as of a call.

    Returns:
      Tuple of the steps in the order in which they are taken; -1 is the keys
      of the device after.

    Raises:
      ValueError: as `work`.
    """
    _, codes = self._static(query, key, value, implementation, options)
    return self.courier().skipping_empty(codes.array).steps

  def courier(self) -> Ring:
    """Passes keys from device to device."""
    # Devices with other batch rows may have other tiles to skip, but whether a
    # step is sent they must decide together.
    return Ring(self.axis, self._shards, (*self._axes()[0], self.axis))


@dataclasses.dataclass(frozen=True)
class AllGatherAttention(ShardedAttention):
  """All-gather attention: each device gathers all keys and values.

  One collective instead of n - 1: the better choice where keys and values are
  small (few key heads, short sequences). Queries, output and residuals of the
  backward pass are T / n a device; the gathered keys are not.

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
    """Gathers the keys of all devices at once."""
    return Gather(self.axis)


@dataclasses.dataclass(frozen=True)
class UlyssesAttention(ShardedAttention):
  """Ulysses attention: all-to-all from tokens divided to heads divided.

  Two all-to-all collectives, one of queries, keys and values and one of the
  output; between them the engine runs as on one device. The number of devices
  must divide the key heads. With more devices `RingAttention` takes over, alone
  or over a second mesh axis, with ``heads=`` this one.

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
    """None: a device holds all keys of its heads."""
    return None

  def _axes(self) -> tuple[tuple[str, ...], ...]:
    """Mesh axes that divide b, h, t and s: that of the tokens divides h."""
    batch, heads, tokens, _ = super()._axes()
    return batch, heads + tokens, (), ()
