"""Attention as kernels, one or two for each walk over the tiles."""

import dataclasses
import functools
from typing import Any, Literal, TypeGuard

import jax
import jax.numpy as jnp

from attnjax.ops.attention.arguments import Aux, Call
from attnjax.ops.attention.block_sizes import Blocks, pad, padded
from attnjax.ops.attention.explicit_sharding import split_of
from attnjax.ops.attention.fused_blocks import (
  Chip,
  KernelBlocks,
  chip_of,
  kernel_blocks,
  macro_of_sums,
)
from attnjax.ops.attention.fused_decode import (
  by_call,
  decodes,
  keys_of_tile,
  operands_and_tiles,
)
from attnjax.ops.attention.fused_gpus import Gpu, gpu_blocks, gpu_of, missing
from attnjax.ops.attention.fused_visits import is_light, kinds_of_visits
from attnjax.ops.attention.index_masks import by_index
from attnjax.ops.attention.live_tiles import live_tiles
from attnjax.ops.attention.online_softmax import (
  as_called,
  finished,
  online_softmax,
)
from attnjax.ops.attention.tile_operands import CallOperands
from attnjax.ops.normalizers import Normalizer
from attnjax.ops.scoring import Scoring
from attnjax.ops.shard_map_axes import varying_axes
from attnjax.ops.target import target_device, target_platform
from attnjax.ops.tiles import Sweep
from attnjax.ops.tiles.flat_programs import CannotLower
from attnjax.ops.tiles.gpu.compiled import Chosen
from attnjax.ops.tiles.gpu.kernel import GpuKernel
from attnjax.ops.tiles.kernel import Kernel
from attnjax.ops.tiles.tile_sum import sum_by_kernel
from attnjax.ops.tiles.visits import Visits
from attnjax.ops.tiles.vmem import TooLarge
from attnjax.typing import Array, Float

__all__ = ["Fused"]


@dataclasses.dataclass(frozen=True)
class Fused:
  """Online softmax as one kernel for a TPU or GPU, and derivatives as others.

  The tiles and their arithmetic are those of `Blockwise`. A walk over them, of
  the forward pass or of any derivative, becomes one kernel, on a GPU one for
  sums of the same axes each, whatever the mask, the score mod and the
  normalizer are; no logits leave the chip. Kernels are written in Pallas for
  TPUs, in Triton for NVIDIA GPUs of compute capability 8.0 and above.

  Args:
    query_block: queries that are brought to the chip at once; None chooses by
      chip and width. On a TPU a multiple of 128, on a GPU a power of 2 and at
      least 16.
    key_block: keys, the same.
    interpret: whether the kernels are interpreted, which any platform can:
      slow, for tests. True is those of a TPU, "gpu" those of a GPU, which need
      Triton installed.

  Raises:
    ValueError: if a size is below 1, or the blocks do not fit the memory of
      the chip.

  >>> import jax
  >>> import jax.numpy as jnp
  >>> import attnjax
  >>> x = jax.random.normal(jax.random.key(0), (7, 1, 4))
  >>> fused = attnjax.Fused(query_block=8, key_block=8, interpret=True)
  >>> out = attnjax.attend(x, x, x, implementation=fused)
  >>> dense = attnjax.attend(x, x, x, implementation="reference")
  >>> bool(jnp.allclose(out, dense, atol=1e-6))
  True

  Reference:
    Dao, "FlashAttention-2: Faster Attention with Better Parallelism and Work
    Partitioning", 2023, arXiv 2307.08691; Dong et al., "Flex Attention", 2024,
    arXiv 2412.05496.
  """

  query_block: int | None = None
  key_block: int | None = None
  interpret: bool | Literal["gpu"] = False

  def __post_init__(self):
    """Sizes are positive, and such as one of the machines has."""
    if self.interpret not in (True, False, "gpu"):
      raise ValueError(
        f"Fused: interpret must be True, False or 'gpu', got {self.interpret!r}"
      )
    for name in ("query_block", "key_block"):
      size = getattr(self, name)
      if size is None or (self.interpret is True and _is_count(size)):
        continue
      fits_gpu = _is_count(size) and size >= 16 and size & (size - 1) == 0
      fits_tpu = _is_count(size) and size % 128 == 0 and not self.interpret
      if not (fits_gpu or fits_tpu):
        raise ValueError(
          f"Fused: {name} must be a Python int >= 1, on a TPU a multiple of"
          " 128, on a GPU a power of 2 and at least 16, or None to let it be"
          f" chosen, got {size!r}"
        )

  def refuses(self, call: Call) -> str | None:
    """Why it cannot honour a call, forward and backward; None if it can."""
    reason = self._refuses_machine(call)
    if reason is not None:
      return reason
    if not all(isinstance(size, int) for size in call.shape):
      return f"tiles are cut of sizes that are known, not of {call.shape}"

    if split_of(call) is not None:
      return (
        "a kernel is for one device, and the types of these arrays divide them"
        " over a mesh; call it within jax.shard_map"
      )
    if self.interpret and varying_axes(*jax.tree.leaves(call)):
      return (
        "JAX does not follow, in kernels that are interpreted within"
        " jax.shard_map, which values vary; give shard_map check_vma=False"
      )

    if "weights" in call.aux:
      return (
        "aux 'weights' are T x S (attention_weights gives chosen rows of them)"
      )
    if call.logits_dtype != jnp.float32:
      return f"kernels have logits of float32, not of {call.logits_dtype}"

    dtypes = {x.dtype for x in (call.query, call.key, call.value)}
    on_tpu = not self.interpret and not self._is_for_gpu(call)
    if on_tpu and jnp.dtype(jnp.float16) in dtypes:
      return "a TPU has no vectors of float16, give bfloat16"

    if call.normalizer.keep is not None:
      return f"the normalizer {call.normalizer!r} needs whole rows to choose"
    for name, kind in (("normalizer", Normalizer), ("scoring", Scoring)):
      if type(getattr(call, name)).__call__ is not kind.__call__:
        return f"this {name} is defined on whole rows only"

    return self._unlowered(call)

  def _is_for_gpu(self, call: Call) -> bool:
    """Whether the kernels are those of a GPU."""
    if self.interpret:
      return self.interpret == "gpu"
    return target_platform(*jax.tree.leaves(call)) == "gpu"

  def _refuses_machine(self, call: Call) -> str | None:
    """Why there are no kernels for the machine that a call is traced for."""
    leaves = jax.tree.leaves(call)
    platform = target_platform(*leaves)
    if self.interpret == "gpu":
      return _lacks(missing(to_compile=False))
    if self.interpret:
      return None

    if platform not in ("tpu", "gpu"):
      return (
        "its kernels are for a TPU or a GPU, and this program is for"
        f" {platform!r}; Fused(interpret=True) runs them here, slowly"
      )
    for name in ("query_block", "key_block"):
      size = getattr(self, name)
      if platform == "tpu" and size is not None and size % 128:
        return f"on a TPU {name} must be a multiple of 128, got {size}"
      if platform == "gpu" and size is not None and size & (size - 1):
        return f"on a GPU {name} must be a power of 2, got {size}"

    if platform != "gpu":
      return None
    if gpu_of(*leaves) is None:
      return (
        f"the GPU {target_device(*leaves)[1]!r} is none that it knows, of"
        " compute capability 8.0 or above"
      )
    return _lacks(missing())

  def describes(self, call: Call) -> str:
    """How it computes a call."""
    blocks = self.blocks(call)
    leaves = jax.tree.leaves(call)
    gpu = gpu_of(*leaves)
    chip = chip_of(*leaves).name if gpu is None else gpu.name
    kind = "interpreted" if self.interpret else f"for {chip}"
    query, key = blocks.visit
    if self._decodes(call):
      count = "one query" if query == 1 else f"{query} queries"
      return (
        f"kernels {kind}, {count} of all {call.shape[1]} heads in tiles of"
        f" {key} tokens, which are read where they lie"
      )
    return (
      f"kernels {kind}, blocks of {query} x {key} in tiles of"
      f" {blocks.tile[0]} x {blocks.tile[1]}"
    )

  @functools.partial(jax.jit, static_argnums=0)
  def __call__(self, call: Call) -> tuple[Float[Array, "B T H E"], Aux]:
    """(out, aux) of the whole call."""
    return self._computed(call)

  def _computed(self, call: Call) -> tuple[Float[Array, "B T H E"], Aux]:
    """The same, traced in place."""
    chosen = self.blocks(call)
    if self._decodes(call):
      operands, sweep = operands_and_tiles(call, chosen.tile[1])
      return self._walked(call, operands, sweep, chosen)
    blocks = Blocks(1, 1, *chosen.tile, call.group)
    visit = Blocks(1, 1, *chosen.visit, call.group)
    shape = padded(call.shape, visit)
    sizes = {"t": shape[2], "s": shape[3]}
    whole, operands = (
      CallOperands.unpadded(x, blocks, shape, in_place=False).map(
        lambda x, axes: pad(x, axes, sizes)
      )
      for x in (call, by_index(call))
    )

    sweep = live_tiles(
      shape,
      blocks,
      whole.rules,
      whole.query_positions,
      whole.key_positions,
      alike=True,
    )
    return self._walked(call, operands, sweep, chosen)

  def _walked(
    self,
    call: Call,
    operands: CallOperands,
    sweep: Sweep,
    chosen: KernelBlocks,
  ) -> tuple[Float[Array, "B T H E"], Aux]:
    """The same, of its tiles."""
    kernel = self._kernel(call, sweep, chosen)
    sweep = sweep._replace(kernel=kernel, listed=False)

    found = online_softmax(sweep.uncoded, sweep.codes, operands)
    if self._decodes(call):
      found = by_call(call, found)
    return as_called(call, *finished(call, found))

  def _kernel(
    self, call: Call, sweep: Sweep, chosen: KernelBlocks
  ) -> Kernel | GpuKernel:
    """The kernel for some tiles, on the machine that a call is traced for."""
    leaves = jax.tree.leaves(call)
    visits = Visits.of(sweep, chosen.macro)
    if not self._is_for_gpu(call):
      macro = macro_of_sums(chosen, chip_of(*leaves))
      given = self.query_block or self.key_block or macro == chosen.macro
      return Kernel(
        visits,
        visits_of_sums=None if given else Visits.of(sweep, macro),
        interpret=bool(self.interpret),
        narrow=not self.interpret,
        limit=chip_of(*leaves).vmem,
        joins=chip_of(*leaves).joins,
      )

    _, laid = self._gpu_blocks(call)
    gpu = None if self.interpret else gpu_of(*leaves)
    # Factors of 16 bits stay so, as all of a tile's products are of them.
    dtypes = {jnp.dtype(x.dtype) for x in (call.query, call.key, call.value)}
    short = [x for x in dtypes if x.itemsize == 2]
    is_short = len(dtypes) == len(short) == 1 and gpu is not None

    return GpuKernel(
      visits,
      machine=None if gpu is None else gpu.machine,
      chosen=laid,
      narrow=short[0].name if is_short else None,
    )

  def blocks(self, call: Call) -> KernelBlocks:
    """The blocks of a call."""
    if self._is_for_gpu(call):
      return self._gpu_blocks(call)[0]
    if self._decodes(call):
      keys = keys_of_tile(call, self.key_block)
      return KernelBlocks((call.shape[2], keys), (1, 1))
    chip = chip_of(*jax.tree.leaves(call))
    blocks = functools.partial(
      kernel_blocks,
      call.shape[2:],
      max(call.query.shape[-1], call.value.shape[-1]),
      chip,
      query=self.query_block,
      key=self.key_block,
    )
    if not is_light(call):
      return blocks()
    whole, wide = blocks(most=chip.whole), blocks(most=chip.wide)
    kinds = kinds_of_visits(call, whole)
    if kinds == 0:
      return whole
    if wide != whole:
      kinds = kinds_of_visits(call, wide)
    return blocks() if kinds is None else wide

  def _decodes(self, call: Call) -> bool:
    """Whether the queries of all heads are rows of a tile."""
    return decodes(call) and not self._is_for_gpu(call)

  def _gpu_blocks(
    self, call: Call
  ) -> tuple[KernelBlocks, tuple[Chosen, Chosen]]:
    """The same on a GPU, and how its kernels are laid."""
    return gpu_blocks(
      call.shape[2:],
      max(call.query.shape[-1], call.value.shape[-1]),
      call.query.dtype,
      query=self.query_block,
      key=self.key_block,
    )

  def _unlowered(self, call: Call) -> str | None:
    """What of a call, or of its gradient, no kernel can be made of."""
    leaves, tree = jax.tree.flatten(call)
    shapes = tuple((jnp.shape(x), jnp.result_type(x)) for x in leaves)
    chip = gpu_of(*leaves) or chip_of(*leaves)
    return _traced(self, tree, shapes, chip)


@functools.lru_cache(maxsize=512)
def _traced(fused: Fused, tree, shapes: tuple, chip: Chip | Gpu) -> str | None:
  """Traces a call and its gradient, and says what could not be lowered."""
  del chip  # the trace asks for it, and the answer is kept for each
  arrays = [jax.ShapeDtypeStruct(*x) for x in shapes]
  moving = [jnp.issubdtype(x.dtype, jnp.inexact) for x in arrays]

  def gradient(*leaves):
    moves = [x for x, m in zip(leaves, moving, strict=True) if m]

    def forward(*moves):
      given = iter(moves)
      every = [
        next(given) if m else x for x, m in zip(leaves, moving, strict=True)
      ]
      return fused._computed(jax.tree.unflatten(tree, every))

    found, back = jax.vjp(forward, *moves)
    return back(found)

  try:
    _lower_sums(jax.make_jaxpr(gradient)(*arrays).jaxpr)
  except CannotLower as part:
    return f"no kernel can be made of a part of it: {part}"
  except TooLarge as size:
    return str(size)
  return None


def _lower_sums(jaxpr) -> None:
  """Makes, and drops, the kernel of each sum in a program."""
  for line in jaxpr.eqns:
    if line.primitive.name == "tile_sum":
      lower = functools.partial(sum_by_kernel, **line.params)
      jax.eval_shape(lower, *(v.aval for v in line.invars))
    for inner in jax.tree.leaves(list(line.params.values())):
      if hasattr(inner, "eqns"):
        _lower_sums(getattr(inner, "jaxpr", inner))


def _lacks(packages: str | None) -> str | None:
  """The refusal where packages are missing; None where none is."""
  if packages is None:
    return None
  return f"its kernels need {packages}: pip install 'attnjax[cuda]'"


def _is_count(size: Any) -> TypeGuard[int]:
  """Whether a size is one that blocks can have."""
  return isinstance(size, int) and size >= 1
