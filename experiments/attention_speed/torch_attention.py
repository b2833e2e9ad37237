"""PyTorch's attention: its C++ kernel, and flex_attention as it compiles it."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch.nn.attention.flex_attention import (
  create_block_mask,
  flex_attention,
)

from experiments.attention_speed.cases import (
  CAP,
  Case,
  arguments,
  neighborhood,
)
from experiments.timing.torch_timing import Answer, prepared, refused_size
from experiments.timing.witness import sample

__all__ = ["prepare"]


def prepare(contender: str, case: dict[str, Any], limit_gb: float) -> Answer:
  """Makes the inputs of a case, and compiles and warms up a contender.

  Args:
    contender: "torch_sdpa" or "torch_flex".
    case: the fields of a `Case`.
    limit_gb: nothing is called that needs more.
  """
  make = {"torch_sdpa": _sdpa, "torch_flex": _flex}[contender]
  return make(Case(**case), limit_gb)


def _sdpa(case: Case, limit_gb: float) -> Answer:
  """`scaled_dot_product_attention`; a dense mask where it has no rule."""
  if case.name == "softcap_alibi":
    return None, {"refused": "cannot: no softcap"}
  dense = case.packed or case.name in ("window", "natten")
  # The boolean mask, and the float32 one that the kernel makes of it.
  pairs = case.batch * case.length**2
  refused = refused_size(5.0 * pairs, limit_gb) if dense else None
  if refused is not None:
    return refused

  arrays, extra = _tensors(case)
  mask = _dense_mask(case, extra) if dense else None
  attend = lambda q, k, v: F.scaled_dot_product_attention(
    q, k, v, attn_mask=mask, is_causal=case.name == "causal"
  )
  note = "dense mask" if dense else ""
  return prepared(_in_mode(attend, arrays, case.mode), _witness, note=note)


def _flex(case: Case, limit_gb: float) -> Answer:
  """`flex_attention`, which compiles a mask and a score function."""
  if case.mode != "forward":
    return None, {"refused": "cannot: no backward pass on a CPU"}
  if case.name in ("full", "decode"):
    return None, {"refused": "not run: has no mask and no score function"}
  # create_block_mask looks at every pair, in a few booleans and integers.
  refused = refused_size(8.0 * case.batch * case.length**2, limit_gb)
  if refused is not None:
    return refused

  arrays, extra = _tensors(case)
  batch = case.batch if case.packed else None
  length = case.length
  blocks = create_block_mask(
    _mask_mod(case, extra), batch, None, length, length, device="cpu"
  )

  # Dynamo compiles 8 shapes of a function; the ninth would run uncompiled.
  torch.compiler.reset()
  compiled = torch.compile(flex_attention, dynamic=False)
  score = _score_mod(extra)
  attend = lambda q, k, v: compiled(q, k, v, score, blocks)
  fn = _in_mode(attend, arrays, case.mode)
  return prepared(fn, _witness, compiled=True, note="block mask made before")


def _tensors(case: Case) -> tuple[list, dict]:
  """The arrays of a case as ``B H T D``, and those by name.

  Contiguous, but for "decode": a cache is read as it is kept, ``B S H D``.
  """
  arrays, extra = arguments(case)
  turned = [torch.from_numpy(x).transpose(1, 2) for x in arrays]
  return (
    turned if case.name == "decode" else [x.contiguous() for x in turned],
    {name: torch.from_numpy(x) for name, x in extra.items()},
  )


def _mask_mod(case: Case, extra: dict) -> Callable:
  """The mask of a case as flex_attention's `mask_mod`."""
  if case.name == "window":
    return lambda b, h, q, k: (k <= q) & (q - k < case.window)
  if case.name == "natten":
    return lambda b, h, q, k: neighborhood(case, q, k)
  if case.packed:
    ids = extra["ids"]
    return lambda b, h, q, k: (k <= q) & (ids[b, q] == ids[b, k])
  return lambda b, h, q, k: k <= q


def _score_mod(extra: dict) -> Callable | None:
  """Softcap, then ALiBi, as flex_attention's `score_mod`; None without."""
  if "slopes" not in extra:
    return None
  slopes = extra["slopes"]

  def score(logit, b, h, q, k):
    return CAP * torch.tanh(logit / CAP) - slopes[h] * (q - k).abs()

  return score


def _dense_mask(case: Case, extra: dict) -> torch.Tensor:
  """The boolean mask of a case, ``B 1 T T`` or ``1 1 T T``."""
  at = torch.arange(case.length)
  query, key = at[:, None], at[None, :]
  if case.name == "natten":
    return neighborhood(case, query, key)[None, None]
  seen = key <= query
  if case.name == "window":
    return (seen & (query - key < case.window))[None, None]
  ids = extra["ids"]
  return (seen & (ids[:, :, None] == ids[:, None, :]))[:, None]


def _in_mode(attend: Callable, arrays: list, mode: str) -> Callable[[], tuple]:
  """A function without arguments: the forward pass, or with gradients."""

  def forward() -> tuple:
    with torch.no_grad():
      return (attend(*arrays),)

  if mode == "forward":
    return forward
  # By query, key and value; the fourth array is the cotangent of the output.
  leaves = [x.requires_grad_() for x in arrays[:3]]

  def with_backward() -> tuple:
    out = attend(*leaves)
    return (out.detach(), *torch.autograd.grad(out, leaves, arrays[3]))

  return with_backward


def _witness(results: tuple) -> list[list[float]]:
  """A sample of each result, turned to JAX's layout ``B T H D``."""
  return [sample(x.transpose(1, 2).contiguous().numpy()) for x in results]
