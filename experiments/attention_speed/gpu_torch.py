"""PyTorch's attention on the GPU that is here, beside JAX in one process."""

import dataclasses
import importlib.util
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from experiments.attention_speed.cases import CAP, Case, document_ids, slopes
from experiments.attention_speed.tpu_calls import WINDOW, TpuCase
from experiments.timing.rounds import Prepared, Refused
from experiments.timing.witness import sample

__all__ = ["prepare"]


@dataclasses.dataclass(frozen=True, eq=False)
class _Timed:
  """A function without arguments, and what waits for the GPU."""

  function: Callable[[], Any]
  wait: Callable[[], None]

  def __call__(self, calls: int) -> float:
    """Mean seconds of so many calls, each waited for."""
    start = time.perf_counter()
    for _ in range(calls):
      self.function()
      self.wait()
    return (time.perf_counter() - start) / calls


def prepare(
  contender: str, case: TpuCase, limit_gb: float
) -> Prepared | Refused:
  """Compiles and warms up `torch_sdpa` or `torch_flex`.

  Args:
    contender: which.
    case: the call.
    limit_gb: nothing is called whose mask needs more.
  """
  if importlib.util.find_spec("torch") is None:
    return Refused("cannot: needs PyTorch, pip install 'attnjax[torch]'")
  import torch

  if not torch.cuda.is_available():
    return Refused("cannot: PyTorch has no GPU here")
  if contender == "torch_sdpa" and case.name not in ("causal", "full"):
    return Refused(f"cannot: no {case.name} by a rule")
  if contender == "torch_flex" and 8 * case.length**2 > limit_gb * 1e9:
    return Refused("not run: its block mask looks at every pair")

  rng = np.random.default_rng(0)
  shape = (1, case.length, case.heads, case.width)
  draw = lambda: torch.from_numpy(rng.normal(size=shape).astype(np.float32)).to(
    "cuda", torch.bfloat16
  )
  tensors = [draw().transpose(1, 2).contiguous() for _ in range(3)]
  # Ids and slopes are fixed, and take nothing of the generator.
  cotangent = draw().transpose(1, 2).contiguous()

  make = {"torch_sdpa": _sdpa, "torch_flex": _flex}[contender]
  attend = make(torch, case)
  for x in tensors:
    x.requires_grad_(case.kind != "forward")

  def run():
    if case.kind == "forward":
      with torch.no_grad():
        return [attend(*tensors)]
    return torch.autograd.grad(attend(*tensors), tensors, cotangent)

  start = time.perf_counter()
  results = run()
  torch.cuda.synchronize()
  return Prepared(
    _Timed(run, torch.cuda.synchronize),
    [
      sample(x.transpose(1, 2).float().contiguous().cpu().numpy())
      for x in results
    ],
    compile_seconds=time.perf_counter() - start,
  )


def _sdpa(torch: Any, case: TpuCase) -> Callable:
  """`scaled_dot_product_attention`."""
  attend = torch.nn.functional.scaled_dot_product_attention
  return lambda *x: attend(*x, is_causal=case.name == "causal")


def _flex(torch: Any, case: TpuCase) -> Callable:
  """`flex_attention`, compiled, its block mask made before."""
  from torch.nn.attention.flex_attention import (
    create_block_mask,
    flex_attention,
  )

  n = case.length
  of = Case("documents", "forward", n, case.width)
  ids = torch.from_numpy(document_ids(of)).to("cuda")
  slope = torch.from_numpy(slopes(case.heads)).to("cuda")
  rules = {
    "causal": lambda b, h, q, k: k <= q,
    "softcap_alibi": lambda b, h, q, k: k <= q,
    "window": lambda b, h, q, k: (k <= q) & (q - k < WINDOW),
    "documents": lambda b, h, q, k: (k <= q) & (ids[b, q] == ids[b, k]),
  }
  rule = rules.get(case.name)
  blocks = rule and create_block_mask(rule, None, None, n, n, device="cuda")

  def score(logit, b, h, q, k):
    return CAP * torch.tanh(logit / CAP) - slope[h] * (q - k).abs()

  torch.compiler.reset()
  compiled = torch.compile(flex_attention, dynamic=False)
  of_case = score if case.name == "softcap_alibi" else None
  return lambda q, k, v: compiled(q, k, v, of_case, blocks)
