"""`tile_sum`: a JAX primitive, whose derivatives of every order are itself.

    y[part] = Σ_tiles f(x[part])

The JVP rule sums the JVP of f, the transpose rule its transpose, the batching
rule its `vmap`: each of the three calls the primitive again, with another f. So
every transform keeps the loop, the skipped tiles and O(T) memory, at any order:
nothing of a tile outlives the tile.
"""

import functools
import string
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.extend.core
import jax.numpy as jnp
from jax.interpreters import ad, batching, mlir

from attnjax.ops.explicit_axes import (
  laid,
  mesh_of,
  names_of,
  sharding_of,
  struct_of,
)
from attnjax.ops.shard_map_axes import varying_alike, varying_axes
from attnjax.ops.tiles.derived_functions import (
  batch_of,
  tangent_of,
  transpose_of,
)
from attnjax.ops.tiles.fold import (
  WHOLE,
  Blocks,
  Filled,
  Subscripts,
  Sweep,
  fold,
  part_shape,
  zeros,
)
from attnjax.ops.tiles.products import small_left_operands

__all__ = ["sum_by_kernel", "sum_over_tiles", "tile_sum", "tile_sum_tangent"]


class _Form(NamedTuple):
  """The parameters of the primitive: all that is static."""

  function: Callable  # (full, tile, *parts) -> parts of the sums
  blocks: Blocks
  kinds: tuple[int, ...]
  courier: Callable | None
  listed: bool
  kernel: Callable | None
  inputs: tuple[Subscripts, ...]
  outputs: tuple[Subscripts, ...]
  sums: tuple[jax.ShapeDtypeStruct, ...]

  def sweep(self, tiles, codes) -> Sweep:
    """The sweep of the sum."""
    return Sweep(
      tiles,
      codes,
      self.blocks,
      self.kinds,
      self.courier,
      self.listed,
      self.kernel,
    )


def tile_sum(
  function: Callable,
  sweep: Sweep,
  operands: Sequence,
  subscripts: Sequence[Subscripts],
  sums: Sequence[jax.ShapeDtypeStruct],
  sum_subscripts: Sequence[Subscripts],
) -> list:
  """Sums a function of tiles over the tiles of a sweep, each in its place.

  Args:
    function: ``(full, tile, *parts) -> parts of the sums``, of no other array
      than these; of an empty tile it must be 0.
    sweep: the tiles.
    operands: arrays, cut for each tile.
    subscripts: one an operand.
    sums: shape and dtype of each sum.
    sum_subscripts: one a sum.

  Returns:
    The sums.

  >>> import jax
  >>> import jax.numpy as jnp, numpy as np
  >>> from attnjax.ops.tiles.fold import FULL, Blocks, Sweep
  >>> tiles = np.array([[0, 0, 0, 0], [0, 0, 0, 1]])
  >>> sweep = Sweep(tiles, np.full(2, FULL), Blocks(1, 1, 1, 2), (FULL,))
  >>> square = lambda full, tile, x: [(x**2).sum()]
  >>> total = lambda x: tile_sum(square, sweep, [x], ["s"],
  ...                            [jax.ShapeDtypeStruct((), x.dtype)], [""])[0]
  >>> jax.grad(total)(jnp.arange(4.0)).tolist()
  [0.0, 2.0, 4.0, 6.0]
  """
  form = _Form(
    function,
    sweep.blocks,
    sweep.kinds,
    sweep.courier,
    sweep.listed,
    sweep.kernel,
    tuple(subscripts),
    tuple(sum_subscripts),
    tuple(sums),
  )
  return _bind(form, sweep.tiles, sweep.codes, operands)


def tile_sum_tangent(
  function: Callable,
  sweep: Sweep,
  operands: Sequence,
  tangents: dict[int, jax.Array],
  subscripts: Sequence[Subscripts],
  sums: Sequence[jax.ShapeDtypeStruct],
  sum_subscripts: Sequence[Subscripts],
) -> list:
  """The JVP of `tile_sum`, without the sum itself.

  Args:
    function: as in `tile_sum`.
    sweep: as in `tile_sum`.
    operands: as in `tile_sum`.
    tangents: by the place of their operand; the others do not move.
    subscripts: as in `tile_sum`.
    sums: as in `tile_sum`.
    sum_subscripts: as in `tile_sum`.

  >>> import jax
  >>> import jax.numpy as jnp
  >>> import numpy as np
  >>> from attnjax.ops.tiles.fold import FULL, Blocks, Sweep
  >>> tiles, blocks = np.array([[0, 0, 0, 0]]), Blocks(1, 1, 1, 4)
  >>> sweep = Sweep(tiles, np.array([FULL]), blocks, (FULL,))
  >>> square = lambda full, tile, x: [(x**2).sum()]
  >>> x, total = jnp.arange(4.0), jax.ShapeDtypeStruct((), jnp.float32)
  >>> tile_sum_tangent(square, sweep, [x], {0: x}, ["s"], [total], [""])
  [Array(28., dtype=float32)]
  """
  active = tuple(tangents)
  return tile_sum(
    tangent_of(function, active, len(operands)),
    sweep,
    [*operands, *tangents.values()],
    [*subscripts, *(subscripts[k] for k in active)],
    sums,
    sum_subscripts,
  )


def _bind(form: _Form, tiles, codes, operands) -> list:
  """Calls the primitive, its arrays all varying over the same mesh axes."""
  axes = varying_axes(*operands)
  operands = [varying_alike(x, axes) for x in operands]
  return _tile_sum_p.bind(tiles, codes, *operands, form=form)


def sum_by_kernel(tiles, codes, *operands, form: _Form) -> list | None:
  """The sum as a kernel, of the arguments of the primitive; None without."""
  return form.kernel and form.kernel(
    form.function,
    form.sweep(tiles, codes),
    operands,
    form.inputs,
    [Filled(x.shape, x.dtype, 0) for x in form.sums],
    form.outputs,
    adds=True,
  )


def sum_over_tiles(
  tiles, codes, *operands, form: _Form, keys_last: bool = False
) -> list:
  """Lowering: the sum as a kernel, or as a loop over tiles.

  Args:
    tiles: of the sweep.
    codes: of the sweep.
    *operands: of the sum.
    form: of the sum.
    keys_last: whether sums along keys and a width, such as the gradients of
      keys and values, are held ``... D S`` in the loop, not ``... S D``.
  """
  sweep = form.sweep(tiles, codes)
  by_kernel = sum_by_kernel(tiles, codes, *operands, form=form)
  if by_kernel is not None:
    return by_kernel

  turned = [keys_last and axes.endswith("s.") for axes in form.outputs]
  turn = lambda xs: [
    jnp.swapaxes(x, -1, -2) if swap else x
    for x, swap in zip(xs, turned, strict=True)
  ]
  held_axes = [
    f"{axes[:-2]}.s" if swap else axes
    for axes, swap in zip(form.outputs, turned, strict=True)
  ]

  def step(full, tile, parts, held):
    of_tile: Callable = functools.partial(form.function, full)
    if keys_last:
      of_tile = small_left_operands(of_tile)
    new = turn(of_tile(tile, *parts))
    return [x + y.astype(x.dtype) for x, y in zip(held, new, strict=True)]

  held = turn(zeros(form.sums))
  return turn(fold(step, sweep, operands, form.inputs, held, held_axes))


def _shapes(tiles, codes, *operands, form: _Form):
  """Abstract evaluation: the sums vary over the mesh axes that operands do."""
  del tiles, codes
  like = operands[0].strip_weak_type()
  meshes = [x.sharding.mesh for x in operands if x.sharding.mesh.explicit_axes]
  mesh = meshes[0] if meshes else like.sharding.mesh
  return [
    like.update(
      shape=x.shape,
      dtype=x.dtype,
      sharding=x.sharding or sharding_of(mesh, ((),) * len(x.shape)),
    )
    for x in form.sums
  ]


def _jvp(primals, tangents, *, form: _Form):
  """JVP rule: the tangent of a sum is the sum of tangents."""
  sums = _tile_sum_p.bind(*primals, form=form)
  tiles, codes, *operands = primals

  # What does not move has no part in the JVP: no loop is made for it.
  moving = {
    k: t for k, t in enumerate(tangents[2:]) if not isinstance(t, ad.Zero)
  }
  moved = tile_sum_tangent(
    form.function,
    form.sweep(tiles, codes),
    operands,
    moving,
    form.inputs,
    form.sums,
    form.outputs,
  )
  return sums, moved


def _transpose(cotangents, tiles, codes, *operands, form: _Form):
  """Transpose rule: the sum of the transposes of each tile's function."""
  linear = tuple(k for k, x in enumerate(operands) if ad.is_undefined_primal(x))
  given = tuple(
    k for k, ct in enumerate(cotangents) if not isinstance(ct, ad.Zero)
  )
  known = [k for k in range(len(operands)) if k not in linear]

  answers: list = [None] * len(operands)
  if given:
    avals = [operands[k].aval for k in linear]
    shapes = [struct_of(x) for x in avals]
    parts = {
      k: x.update(shape=part_shape(x.shape, form.inputs[k], form.blocks))
      for k, x in zip(linear, shapes, strict=True)
    }
    found = tile_sum(
      transpose_of(form.function, parts, given, len(operands)),
      form.sweep(tiles, codes),
      [*(operands[k] for k in known), *(cotangents[k] for k in given)],
      [
        *(form.inputs[k] for k in known),
        *(form.outputs[k] for k in given),
      ],
      list(map(_wide, shapes)),
      [form.inputs[k] for k in linear],
    )

    for k, x, like in zip(linear, found, shapes, strict=True):
      answers[k] = x.astype(like.dtype)
  return [None, None, *answers]


def _wide(x: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
  """Many tiles add to a gradient: in few bits their sum would lose the last."""
  return x if x.dtype.itemsize > 2 else x.update(dtype=jnp.float32)


def _batch(arrays, axes, *, form: _Form):
  """Batching rule: one more axis, which no tile cuts."""
  tiles, codes, *operands = arrays
  if any(a is not None for a in axes[:2]):
    raise NotImplementedError("tile_sum: the tiles of a batch are shared")
  batched = [a is not None for a in axes[2:]]

  operands = [
    jnp.moveaxis(x, a, 0) if is_batched else x
    for x, a, is_batched in zip(operands, axes[2:], batched, strict=True)
  ]
  first = [x for x, b in zip(operands, batched, strict=True) if b]
  size = first[0].shape[0]

  # The batch may be divided, on a mesh of explicit axes: then all of it is.
  mesh = mesh_of(*first)
  names = next((names_of(x)[0] for x in first if names_of(x)[0]), ())
  if names:
    operands = [
      laid(x, mesh, (names, *names_of(x)[1:])) if b else x
      for x, b in zip(operands, batched, strict=True)
    ]

  # A kernel visits the entries of the axis one by one, its tiles have none.
  mapped = _mapped_letter(form)
  if mapped is not None:
    wider = lambda axes, rank: mapped + (axes or WHOLE * rank)
    function = form.function
  else:
    wider = lambda axes, rank: "." + axes if axes else axes
    function = batch_of(form.function, batched)

  form = form._replace(
    function=function,
    inputs=tuple(
      wider(axes, x.ndim - 1) if b else axes
      for axes, x, b in zip(form.inputs, operands, batched, strict=True)
    ),
    outputs=tuple(
      wider(axes, len(x.shape))
      for axes, x in zip(form.outputs, form.sums, strict=True)
    ),
    sums=tuple(struct_of(x, (size, names, mesh)) for x in form.sums),
  )
  return _bind(form, tiles, codes, operands), [0] * len(form.sums)


def _mapped_letter(form: _Form) -> str | None:
  """A digit that names one more axis of `vmap`; None where no kernel is."""
  if form.kernel is None:
    return None
  used = {a for axes in (*form.inputs, *form.outputs) for a in axes}
  return min(set(string.digits) - used)


_tile_sum_p = jax.extend.core.Primitive("tile_sum")
_tile_sum_p.multiple_results = True
_tile_sum_p.def_impl(jax.jit(_tile_sum_p.bind, static_argnames="form"))
_tile_sum_p.def_abstract_eval(_shapes)
ad.primitive_jvps[_tile_sum_p] = _jvp
ad.primitive_transposes[_tile_sum_p] = _transpose
batching.primitive_batchers[_tile_sum_p] = _batch
mlir.register_lowering(
  _tile_sum_p, mlir.lower_fun(sum_over_tiles, multiple_results=True)
)
# XLA's CPU compiler is fast where the small operand is on the left, see
# `small_left_operands`: dVᵀ = dOᵀ P takes half the time of dV = Pᵀ dO, if the
# sum in the loop is of dVᵀ; else the compiler turns the product back.
mlir.register_lowering(
  _tile_sum_p,
  mlir.lower_fun(
    functools.partial(sum_over_tiles, keys_last=True), multiple_results=True
  ),
  platform="cpu",
)
