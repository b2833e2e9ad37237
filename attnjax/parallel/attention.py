"""What sharded attentions share: a call is checked, divided and put back."""

import dataclasses
from collections.abc import Sequence
from typing import Unpack, overload

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, PartitionSpec

from attnjax.ops.attention.arguments import (
  AttendOptions,
  Aux,
  AuxNames,
  Call,
  checked_call,
)
from attnjax.ops.attention.blockwise import Blockwise
from attnjax.ops.attention.implementations import named
from attnjax.ops.integers import known
from attnjax.ops.tiles import EMPTY
from attnjax.parallel import token_layouts
from attnjax.parallel.collectives import Courier, Gather, Ring
from attnjax.parallel.division import (
  Division,
  Table,
  attend_divided,
  known_table,
)
from attnjax.typing import Array

__all__ = [
  "AllGatherAttention",
  "RingAttention",
  "ShardedAttention",
  "UlyssesAttention",
]


class _Taken(AttendOptions, total=False):
  implementation: Blockwise | str | None


@dataclasses.dataclass(frozen=True)
class ShardedAttention:
  """Attention over tokens that are divided among devices; see its kinds.

  Args:
    mesh: of devices, with automatic axes.
    axis: of the mesh, along which the tokens are divided.
    layout: the order in which tokens, positions and segment ids come.
    batch: axes of the mesh that divide the batch, if any.
    heads: axes of the mesh that divide the heads, if any.
  """

  mesh: Mesh
  axis: str
  layout: token_layouts.TokenLayout = "contiguous"
  batch: str | tuple[str, ...] = ()
  heads: str | tuple[str, ...] = ()

  def __post_init__(self):
    """The axes are of the mesh, each once."""
    if not isinstance(self.mesh, Mesh):
      raise ValueError(
        f"{self._name}: mesh must be a jax.sharding.Mesh, got {self.mesh!r};"
        " parallel.make_mesh makes one"
      )
    for name in ("batch", "heads"):  # of a list too, which has no hash
      object.__setattr__(self, name, _names(getattr(self, name)))
    axes = [*_names(self.batch), *_names(self.heads)]
    for name in (self.axis, *axes):
      if name not in self.mesh.axis_names:
        raise ValueError(
          f"{self._name}: the mesh has no axis {name!r}, only"
          f" {list(self.mesh.axis_names)}; parallel.make_mesh(data=2,"
          " sequence=4) names them"
        )
    if len({self.axis, *axes}) <= len(axes):
      raise ValueError(
        f"{self._name}: an axis of the mesh divides one thing, but axis="
        f"{self.axis!r}, batch={self.batch!r}, heads={self.heads!r} overlap"
      )
    if any(kind != AxisType.Auto for kind in self.mesh.axis_types):
      raise ValueError(
        f"{self._name}: the mesh must have automatic axes, got"
        f" {self.mesh.axis_types}; parallel.make_mesh makes such a mesh"
      )
    token_layouts.check_length("tokens", 0, self.layout, 1, self._name)

  @overload
  def __call__(
    self, query, key, value, *, aux: tuple[()] = ..., **options: Unpack[_Taken]
  ) -> Array: ...
  @overload
  def __call__(
    self, query, key, value, *, aux: AuxNames, **options: Unpack[_Taken]
  ) -> tuple[Array, Aux]: ...
  @overload
  def __call__(
    self, query, key, value, *, aux: Sequence[str], **options: Unpack[_Taken]
  ) -> Array | tuple[Array, Aux]: ...
  def __call__(self, query, key, value, *, implementation=None, **options):
    """Attention over the whole sequence; as `attnjax.attend`, to be called so.

    Args:
      query: ``*B T H D``, in the order of the layout as all that follows.
      key: ``*B S K D``.
      value: ``*B S K E``.
      implementation: None, or a `Blockwise` with blocks of its own.
      **options: as for `attend`. A bias or a boolean mask is aligned with the
        arrays, so that it is permuted on both axes; positions must be given
        where the layout is not contiguous. Dropout and `masks.lengths` count
        tokens in their true order.

    Returns:
      As `attend`; divided as the queries are.

    Raises:
      ValueError: as `attend`, or if an axis does not divide among the devices,
        or positions disagree with the layout, or it is called in a map over
        devices. What is traced cannot be asked for its order: with positions
        known only at run time, to permute is the caller's to remember.
      NotImplementedError: for aux "weights", or another implementation.
    """
    self._refuse_another_map()
    of = (query, key, value)
    # A call that nothing traces is compiled for all arrays of its shapes, and
    # for the values of what is part of a program, as numbers and numpy are.
    fixed = lambda x: not isinstance(x, jax.Array)
    told = fixed if all(map(known, of)) else token_layouts.is_told
    plan = self._planned(*of, implementation, options, told)
    with jax.named_scope("attend"):
      out, aux = attend_divided(*plan, self.courier())
    return plan[0].answer(out, aux, jnp.shape(query)[:-3])

  def work(self, query, key, value, *, implementation=None, **options):
    """How many tiles each device along the axis computes of a call.

    Args:
      query: as of a call, and so all that follows. Nothing is computed.
      key: as of a call.
      value: as of a call.
      implementation: as of a call.
      **options: as of a call.

    Returns:
      int ``n``, numpy.

    Raises:
      ValueError: if it depends on arrays that are known only when it runs.
    """
    division, table = self._known(query, key, value, implementation, options)
    parts = division.parts("t")
    batch, queries, keys = table.codes.shape
    live = table.codes.reshape(batch, parts, queries // parts, keys) != EMPTY
    return np.resize(live.sum((0, 2, 3)), self._shards)

  def permute(self, x, axis: int = -1):
    """Puts tokens, positions or segment ids into the order of the layout."""
    return token_layouts.permute(x, self.layout, self._shards, axis)

  def unpermute(self, x, axis: int = -1):
    """Puts an axis of tokens back from the order of the layout."""
    return token_layouts.unpermute(x, self.layout, self._shards, axis)

  def courier(self) -> Courier | None:
    """What brings the keys of other devices; None where all are here."""
    raise NotImplementedError

  def _known(self, *of) -> tuple[Division, Table]:
    """The division of a call, and its tiles, which must be known."""
    _, division, table = self._planned(*of)
    if table is None:
      raise ValueError(
        f"{self._name}: which tiles are computed depends on segment ids, on a"
        " boolean mask or on what is traced; ask of positions and masks that"
        " are known"
      )
    return division, table

  def _planned(
    self, query, key, value, implementation, options, told=token_layouts.is_told
  ):
    """(call, division, table): checked, divided, and what is known of it."""
    call = checked_call(query, key, value, options)
    engine = self._engine(call, implementation)
    self._check(call)
    places = [options.get(f"{side}_positions") for side in ("query", "key")]
    for side, x in zip(("query", "key"), places, strict=True):
      name = f"{side}_positions"
      token_layouts.check_positions(
        self._name, name, x, self.layout, self._shards
      )
    division = self._division().with_blocks(call, engine)
    batch = jnp.shape(query)[:-3]
    return call, division, known_table(division, call, batch, places, told)

  def _refuse_another_map(self) -> None:
    """Raises inside of `shard_map`, where arrays are parts already."""
    axes = sorted(jax.sharding.get_abstract_mesh().manual_axes)
    if axes:
      raise ValueError(
        f"{self._name}: it divides whole arrays among devices, and was called"
        f" on parts, in a shard_map or pmap over {axes}; call it outside of it,"
        " or attnjax.attend inside"
      )

  def _axes(self) -> tuple[tuple[str, ...], ...]:
    """Mesh axes that divide b, h, t and s."""
    tokens = (self.axis,)
    return _names(self.batch), _names(self.heads), tokens, tokens

  def _division(self) -> Division:
    """Of a call on the mesh."""
    batch, heads = _names(self.batch), _names(self.heads)
    home = PartitionSpec(batch or None, self.axis, heads or None)
    return Division(self.mesh, self.layout, self._shards, self._axes(), home)

  @property
  def _shards(self) -> int:
    return self.mesh.shape[self.axis]

  @property
  def _name(self) -> str:
    return type(self).__name__

  def _engine(self, call: Call, asked) -> Blockwise:
    """The engine that computes what is here."""
    engine = Blockwise() if asked is None else named(asked)[1]
    if not isinstance(engine, Blockwise):
      raise NotImplementedError(
        f"{self._name}: only implementation 'blockwise' knows where a part of a"
        f" call stands, got {asked!r}; leave it out, or give Blockwise(...)"
      )
    reason = engine.refuses(call)
    if reason is not None:
      raise NotImplementedError(f"{self._name}: {reason}")
    return engine

  def _check(self, call: Call) -> None:
    """Every axis divides."""
    batch, heads, length, keys = call.shape
    split = self.layout, self._shards, self._name
    for name, size in (("T", length), ("S", keys)):
      token_layouts.check_length(name, size, *split)
    parts = self._division().parts
    for what, size, axis, remedy in (
      ("batch B", batch, "b", "give a batch that divides"),
      ("query heads H", heads, "h", "take fewer devices for heads"),
      (
        "key heads K",
        heads // call.group,
        "h",
        "take fewer devices for heads, RingAttention for the rest, or repeat"
        " key heads with jnp.repeat(key, n, axis=-2)",
      ),
    ):
      if size % parts(axis):
        names = self._axes()["bh".index(axis)]
        raise ValueError(
          f"{self._name}: {what}={size} must be a multiple of the {parts(axis)}"
          f" devices of mesh axes {list(names)}; {remedy}"
        )


def _names(axes: str | tuple[str, ...]) -> tuple[str, ...]:
  """Axes of a mesh, one or several."""
  return (axes,) if isinstance(axes, str) else tuple(axes)


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
