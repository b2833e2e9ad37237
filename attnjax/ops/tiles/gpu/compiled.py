"""A kernel of a GPU, compiled by Triton for a GPU that need not be here."""

import functools
import warnings
import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.extend.core
import jax.numpy as jnp
from jax.interpreters import mlir

from attnjax.extras import needs_extra
from attnjax.ops.tiles.gpu.terms import type_of
from attnjax.ops.tiles.gpu.text import function_of
from attnjax.ops.tiles.vmem import TooLarge

__all__ = ["Chosen", "Machine", "called", "compiled"]

# The assemblers of CUDA 12.9, which JAX's plugins have, and of all later ones
# read this; Triton writes what its own newest one reads.
_PTX_VERSION = 87


class Chosen(NamedTuple):
  """How a kernel is laid on a multiprocessor.

  Args:
    warps: that share a program.
    stages: turns of a loop whose arrays are on their way at once.
  """

  warps: int = 8
  stages: int = 2


class Machine(NamedTuple):
  """What of a GPU a kernel is compiled for.

  Args:
    capability: of computing, 90 is 9.0.
    shared: bytes of shared memory that a program may take.
  """

  capability: int
  shared: int


@functools.lru_cache(maxsize=256)
def compiled(text: str, dtypes: tuple, machine: Machine, chosen: Chosen) -> Any:
  """What Triton makes of a kernel, which has ``asm["ptx"]`` and ``metadata``.

  Args:
    text: of the kernel.
    dtypes: of its arrays.
    machine: that it is for.
    chosen: how it is laid.
  """
  with needs_extra("cuda", "kernels for GPUs are written in Triton"):
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

  import triton.language as tl

  reducing = {"take_sum": tl.sum, "take_max": tl.max, "take_min": tl.min}
  function = function_of(text, triton.jit, reducing)
  pointers = ["*" + _NAMES[type_of(x)] for x in dtypes]
  source = ASTSource(
    function,
    dict(zip(function.arg_names, pointers, strict=True)),
    attrs={(k,): [["tt.divisibility", 16]] for k in range(len(dtypes))},
  )
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    return triton.compile(
      source,
      target=GPUTarget("cuda", machine.capability, 32),
      options={
        "num_warps": chosen.warps,
        "num_stages": chosen.stages,
        "ptx_version": _PTX_VERSION,
        "enable_fp_fusion": True,
      },
    )


def called(
  text: str,
  operands: Sequence,
  outs: Sequence,
  programs: int,
  machine: Machine,
  chosen: Chosen,
  flops: float,
) -> list:
  """The results of a kernel, which is compiled where the program is.

  Args:
    text: of the kernel.
    operands: that it reads.
    outs: shapes and dtypes of what it writes.
    programs: how many it has.
    machine: that it is for.
    chosen: how it is laid.
    flops: of its products, for who counts those of a program.
  """
  return _kernel_p.bind(
    *operands,
    text=text,
    outs=tuple(outs),
    programs=programs,
    machine=machine,
    chosen=chosen,
    flops=flops,
  )


def _lowered(*operands, text, outs, programs, machine, chosen, flops) -> list:
  """The call of a compiled kernel: JAX has one for those of Triton."""
  del flops
  from jaxlib import gpu_triton

  dtypes = tuple(jnp.result_type(x) for x in (*operands, *outs))
  made = compiled(text, dtypes, machine, chosen)
  about = made.metadata
  if about.shared > machine.shared:
    raise TooLarge(
      f"a kernel takes {about.shared} bytes of shared memory, of"
      f" {machine.shared} that it may take; give smaller query_block= and"
      " key_block="
    )
  kernel = gpu_triton.TritonKernel(
    about.name,
    about.num_warps,
    about.num_ctas,
    about.shared,
    made.asm["ptx"],
    str(made.asm["ttir"]),
    machine.capability,
  )
  pointers = [gpu_triton.create_array_parameter(0, 16) for _ in dtypes]
  call = gpu_triton.TritonKernelCall(kernel, programs, 1, 1, pointers)
  opaque = zlib.compress(call.to_proto("attnjax_tiles", b""))
  run = jax.ffi.ffi_call("triton_kernel_call_ffi", list(outs))
  return list(run(*operands, opaque=opaque))


_kernel_p = jax.extend.core.Primitive("attnjax_gpu_kernel")
_kernel_p.multiple_results = True
_kernel_p.def_impl(
  lambda *xs, **form: jax.jit(lambda *xs: _kernel_p.bind(*xs, **form))(*xs)
)
_kernel_p.def_abstract_eval(
  lambda *xs, outs, **_: [
    xs[0].update(shape=x.shape, dtype=x.dtype, weak_type=False) for x in outs
  ]
)
mlir.register_lowering(
  _kernel_p, mlir.lower_fun(_lowered, multiple_results=True), platform="cuda"
)

_NAMES = {
  "tl.int1": "i1",
  "tl.int8": "i8",
  "tl.int16": "i16",
  "tl.int32": "i32",
  "tl.int64": "i64",
  "tl.uint8": "u8",
  "tl.uint16": "u16",
  "tl.uint32": "u32",
  "tl.uint64": "u64",
  "tl.float16": "fp16",
  "tl.bfloat16": "bf16",
  "tl.float32": "fp32",
}
