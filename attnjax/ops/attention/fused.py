"""Attention as kernels, one or two for each walk over the tiles."""

import dataclasses
import functools
from typing import Any, Literal, TypeGuard

import jax
import jax.numpy as jnp

from attnjax.ops.attention.arguments import Aux, Call
from attnjax.ops.attention.explicit_sharding import found_by_device
from attnjax.ops.attention.fused_blocks import (
  KernelBlocks,
  chip_of,
  macro_of_sums,
)
from attnjax.ops.attention.fused_decode import by_call
from attnjax.ops.attention.fused_forms import Form, form_of
from attnjax.ops.attention.fused_gpus import gpu_blocks, gpu_of, missing
from attnjax.ops.attention.fused_lowered import unlowered
from attnjax.ops.attention.fused_shards import (
  refuses_division,
  split_for_kernels,
)
from attnjax.ops.attention.index_masks import by_index
from attnjax.ops.attention.online_softmax import (
  as_called,
  finished,
  online_softmax,
)
from attnjax.ops.attention.tile_operands import Places
from attnjax.ops.normalizers import Normalizer
from attnjax.ops.scoring import Scoring
from attnjax.ops.shard_map_axes import varying_axes
from attnjax.ops.target import target_device, target_platform
from attnjax.ops.tiles import Sweep
from attnjax.ops.tiles.gpu.compiled import Chosen
from attnjax.ops.tiles.gpu.kernel import GpuKernel
from attnjax.ops.tiles.kernel import Kernel
from attnjax.ops.tiles.visits import Visits
from attnjax.typing import Array, Float

__all__ = ["Fused"]


@dataclasses.dataclass(frozen=True)
class Fused:
  """Online softmax as one kernel for a TPU or GPU, and derivatives as others.

  The tiles and their arithmetic are those of `Blockwise`. A walk over them, of
  the forward pass or of any derivative, becomes one kernel, on a GPU one for
  sums of the same axes each, whatever the mask, the score mod and the
  normalizer are; no logits leave the chip. Kernels are written in Pallas for
  TPUs, in Triton for NVIDIA GPUs of compute capability 8.0 and above. On a mesh
  of explicit axes each device has one for the batch rows and heads that it has.

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

    divided = refuses_division(call)
    if divided is not None:
      return divided
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

    return unlowered(self, call)

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
    form, split = self._form(call), split_for_kernels(call)
    leaves = jax.tree.leaves(call)
    gpu = gpu_of(*leaves)
    chip = chip_of(*leaves).name if gpu is None else gpu.name
    kind = "interpreted" if self.interpret else f"for {chip}"
    said = f"kernels {kind}, {form}"
    return said if split is None else f"{said}; {split}"

  @functools.partial(jax.jit, static_argnums=0)
  def __call__(self, call: Call) -> tuple[Float[Array, "B T H E"], Aux]:
    """(out, aux) of the whole call."""
    return self.computed(call)

  def computed(self, call: Call) -> tuple[Float[Array, "B T H E"], Aux]:
    """The same, traced in place."""
    form, split = self._form(call), split_for_kernels(call)
    walk = functools.partial(self._walked, form)
    if split is None:
      found = walk(call, form.tiles_of(call))
    else:
      found = found_by_device(
        by_index(call),  # tables are divided as well
        form.tile,
        split,
        walk,
        padded_by=form.visit,
        typed=not self.interpret,  # JAX cannot follow those
      )
    return as_called(call, *found)

  def _walked(
    self, form: Form, call: Call, sweep: Sweep, batch=None, head=None
  ) -> tuple[Float[Array, "B H T E"], Aux]:
    """(out, aux) of its tiles; where it is a part, of the rows and heads."""
    kernel = self._kernel(call, sweep, form.chosen)
    places = None if batch is None else Places(batch, head, None, None)
    operands = form.operands_of(call, places)
    sweep = sweep._replace(
      kernel=kernel, listed=False, blocks=operands.settings.blocks
    )
    found = online_softmax(sweep.uncoded, sweep.codes, operands)
    if form.decodes:
      found = by_call(call, found)
    return finished(call, found)

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
    return self._form(call).chosen

  def _form(self, call: Call) -> Form:
    """The form of a call, of the part of it that a device has."""
    split = split_for_kernels(call)
    heads = call.shape[1] if split is None else split.local(call.shape)[1]
    group = call.group if split is None else split.group(call)
    if self._is_for_gpu(call):
      return Form(self._gpu_blocks(call)[0], 1, group)
    given = self.query_block, self.key_block
    return form_of(call, heads, group, given)

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


def _lacks(packages: str | None) -> str | None:
  """The refusal where packages are missing; None where none is."""
  if packages is None:
    return None
  return f"its kernels need {packages}: pip install 'attnjax[cuda]'"


def _is_count(size: Any) -> TypeGuard[int]:
  """Whether a size is one that blocks can have."""
  return isinstance(size, int) and size >= 1
