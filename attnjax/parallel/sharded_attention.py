"""Base class of sharded attention: argument checks, call, work of a device.

A subclass (ring, all-gather, Ulysses) says which mesh axes shard what, and
which courier moves the keys; all the rest is here.
"""

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
from attnjax.ops.attention.observe import mark_call, mark_output
from attnjax.ops.integers import known
from attnjax.ops.tiles import EMPTY
from attnjax.parallel import token_layouts
from attnjax.parallel.collectives import Courier
from attnjax.parallel.division import (
  Division,
  TileCodes,
  attend_divided,
  static_tile_codes,
)
from attnjax.typing import Array

__all__ = ["ShardedAttention"]


class _Options(AttendOptions, total=False):
  """The keyword arguments of `attend`, and the engine."""

  implementation: Blockwise | str | None


@dataclasses.dataclass(frozen=True)
class ShardedAttention:
  """Base class of attention over tokens that are divided among devices.

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
    """Checks that the axes are of the mesh, each used once."""
    if not isinstance(self.mesh, Mesh):
      raise ValueError(
        f"{self._name}: mesh must be a jax.sharding.Mesh, got {self.mesh!r};"
        " parallel.make_mesh makes one"
      )

    # Tuples also of what was given as a list: the object is hashed by `jit`.
    for name in ("batch", "heads"):
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

    # Only automatic axes let the compiler move arrays to the input sharding.
    if any(kind != AxisType.Auto for kind in self.mesh.axis_types):
      raise ValueError(
        f"{self._name}: the mesh must have automatic axes, got"
        f" {self.mesh.axis_types}; parallel.make_mesh makes such a mesh"
      )

    # Length 0 always divides: this checks the name of the layout only.
    token_layouts.check_length("tokens", 0, self.layout, 1, self._name)

  @overload
  def __call__(
    self,
    query,
    key,
    value,
    *,
    aux: tuple[()] = ...,
    **options: Unpack[_Options],
  ) -> Array: ...

  @overload
  def __call__(
    self, query, key, value, *, aux: AuxNames, **options: Unpack[_Options]
  ) -> tuple[Array, Aux]: ...

  @overload
  def __call__(
    self, query, key, value, *, aux: Sequence[str], **options: Unpack[_Options]
  ) -> Array | tuple[Array, Aux]: ...

  def __call__(self, query, key, value, *, implementation=None, **options):
    """Attention over the whole sequence, with the signature of `attend`.

    Args:
      query: ``*B T H D``, in the order of the layout, as all that follows.
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
        devices. The order of traced positions cannot be checked: where they
        are known only at run time, the caller must remember to permute.
      NotImplementedError: for aux "weights", or another implementation.
    """
    self._refuse_parts()
    arrays = (query, key, value)

    # Called eagerly, the program is compiled once for all jax.Arrays of these
    # shapes: only numbers and numpy arrays may become constants of it. Within
    # a trace every array with known values may.
    fixed = lambda x: not isinstance(x, jax.Array)
    concrete = fixed if all(map(known, arrays)) else token_layouts.is_concrete

    call, division, codes = self._divided(
      *arrays, implementation, options, concrete
    )
    call, site = mark_call(call, query, key, options)
    with jax.named_scope("attend"):
      out, aux = attend_divided(call, division, codes, self.courier())
    out = mark_output(out, site)
    return call.answer(out, aux, jnp.shape(query)[:-3])

  def work(self, query, key, value, *, implementation=None, **options):
    """Number of tiles that each device along the axis computes in a call.

    Nothing is computed. A training step waits for the device with the most
    tiles: these numbers show how evenly a layout shares the work of a mask.

    Args:
      query: as of a call, and so all that follows.
      key: as of a call.
      value: as of a call.
      implementation: as of a call.
      **options: as of a call.

    Returns:
      int ``n``, numpy.

    Raises:
      ValueError: if it depends on arrays that are known only when it runs.
    """
    division, codes = self._static(query, key, value, implementation, options)
    parts = division.parts("t")
    batch, queries, keys = codes.array.shape
    live = codes.array.reshape(batch, parts, queries // parts, keys) != EMPTY
    # Where the axis divides heads (Ulysses) each device has the same tiles.
    return np.resize(live.sum((0, 2, 3)), self._shards)

  def permute(self, x, axis: int = -1):
    """Puts tokens, positions or segment ids into the order of the layout."""
    return token_layouts.permute(x, self.layout, self._shards, axis)

  def unpermute(self, x, axis: int = -1):
    """Puts an axis of tokens back from the order of the layout."""
    return token_layouts.unpermute(x, self.layout, self._shards, axis)

  def courier(self) -> Courier | None:
    """The object that moves keys between devices; None where none move."""
    raise NotImplementedError

  def _static(self, *arguments) -> tuple[Division, TileCodes]:
    """(division, tile codes) of a call whose tiles are known before it runs.

    Raises:
      ValueError: if they are not.
    """
    _, division, codes = self._divided(*arguments)
    if codes is None:
      raise ValueError(
        f"{self._name}: which tiles are computed depends on segment ids, on a"
        " boolean mask or on what is traced; ask of positions and masks that"
        " are known"
      )
    return division, codes

  def _divided(
    self,
    query,
    key,
    value,
    implementation,
    options,
    concrete=token_layouts.is_concrete,
  ) -> tuple[Call, Division, TileCodes | None]:
    """Checks the arguments; (call, division, tile codes if they are known)."""
    call = checked_call(query, key, value, options)
    engine = self._engine(call, implementation)
    self._check_sizes(call)

    names = ("query_positions", "key_positions")
    positions = [options.get(name) for name in names]
    for name, x in zip(names, positions, strict=True):
      token_layouts.check_positions(
        self._name, name, x, self.layout, self._shards
      )

    division = self._division().with_blocks(call, engine)
    batch = jnp.shape(query)[:-3]
    codes = static_tile_codes(division, call, batch, positions, concrete)
    return call, division, codes

  def _refuse_parts(self) -> None:
    """Raises ValueError inside of `shard_map`, where arrays are parts."""
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
    """The division of any call, its blocks not chosen yet."""
    batch, heads = _names(self.batch), _names(self.heads)
    # A kind may compute with another axis divided: callers see tokens divided.
    outside = PartitionSpec(batch or None, self.axis, heads or None)
    return Division(self.mesh, self.layout, self._shards, self._axes(), outside)

  @property
  def _shards(self) -> int:
    return self.mesh.shape[self.axis]

  @property
  def _name(self) -> str:
    return type(self).__name__

  def _engine(self, call: Call, asked) -> Blockwise:
    """The blockwise engine that computes the part of each device.

    Raises:
      NotImplementedError: for another engine, or a call that it refuses.
    """
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

  def _check_sizes(self, call: Call) -> None:
    """Raises ValueError where an axis does not divide among the devices."""
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
  """Names of mesh axes as a tuple; one name becomes a tuple of one."""
  return (axes,) if isinstance(axes, str) else tuple(axes)
