"""Attention calls whose programs are compiled for TPUs, ours and the peers'."""

import importlib.util
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import attnjax
from attnjax import masks, score_mods
from experiments.attention_speed.cases import CAP, Case, document_ids

__all__ = ["PEERS", "Blocks", "TpuCase", "call_of", "why_not"]

WINDOW = 1024
PEERS = ("splash", "tokamax")
# Calls with a score mod, and the shape of what it captures: slopes of ALiBi,
# T5's table of 32 buckets.
_CAPTURED: dict[str, Callable[[int], tuple[int, ...]]] = {
  "softcap_alibi": lambda heads: (heads,),
  "relative_bias": lambda heads: (32, heads),
}


class Blocks(NamedTuple):
  """How a peer cuts a call, and orders its operations.

  Args:
    query: queries that it brings at once.
    key: keys that it brings at once.
    compute: keys that it computes at once.
    scheduled: whether tokamax orders operations by its experimental scheduler.

  >>> Blocks.read("1024x512x256, scheduled")
  Blocks(query=1024, key=512, compute=256, scheduled=True)
  """

  query: int
  key: int
  compute: int
  scheduled: bool = False

  @classmethod
  def read(cls, text: str) -> "Blocks":
    """Those that `str` wrote."""
    sizes, _, word = text.partition(", ")
    query, key, compute = map(int, sizes.split("x"))
    return cls(query, key, compute, bool(word))

  def __str__(self) -> str:
    """Sizes with an x between them."""
    word = ", scheduled" if self.scheduled else ""
    return "x".join(map(str, self[:3])) + word


class TpuCase(NamedTuple):
  """One call of bfloat16 arrays ``1 T H D``.

  Args:
    name: one of those of `experiments.attention_speed.cases`.
    kind: a pass, one of `TPU_PASSES` of the config.
    length: T = S.
    width: D.
    heads: H.

  >>> TpuCase("causal", "forward", 4096, 128).title
  'causal, forward, T = 4096, D = 128'
  """

  name: str
  kind: str
  length: int
  width: int
  heads: int = 8

  @property
  def title(self) -> str:
    """For people."""
    kind = self.kind.replace("_", " ")
    return f"{self.name}, {kind}, T = {self.length}, D = {self.width}"


def why_not(case: TpuCase, contender: str) -> str | None:
  """Why a contender has no such call; None where it has."""
  if contender not in PEERS:
    return None
  if case.kind not in ("forward", "backward"):
    return f"has no {case.kind.replace('_', ' ')}"
  if case.name in _CAPTURED:
    return "has no score functions"
  if contender == "tokamax" and importlib.util.find_spec("tokamax") is None:
    return "needs tokamax: pip install 'attnjax[tokamax]'"
  return None


def call_of(
  case: TpuCase, contender: str, blocks: Blocks | None
) -> tuple[Callable, list[jax.ShapeDtypeStruct], dict[int, np.ndarray]]:
  """The program of a case, its arguments, and the values of those that matter.

  Args:
    case: the call.
    contender: "fused" or "blockwise", which are ours, or one of `PEERS`.
    blocks: of a peer.

  Returns:
    (function, arguments, values): masks depend on the arguments that have
    values, by place.
  """
  attention = {"splash": _splash, "tokamax": _tokamax}.get(contender)
  forward = (
    _ours(case, contender)
    if attention is None
    else _by_head(attention(case, blocks or Blocks(1024, 1024, 512)))
  )
  shape = (1, case.length, case.heads, case.width)
  arrays = [jax.ShapeDtypeStruct(shape, jnp.bfloat16)] * 3

  more, values = [], {}
  given = Case("documents", "forward", case.length, case.width)
  if case.name == "documents":
    more = [jax.ShapeDtypeStruct((1, case.length), jnp.int32)]
    values = {3: document_ids(given)}
  elif case.name in _CAPTURED:
    captured = _CAPTURED[case.name](case.heads)
    more = [jax.ShapeDtypeStruct(captured, jnp.float32)]
  moving = 3 + (case.name in _CAPTURED)

  arguments = [*arrays, *more]
  function = _derived(forward, case.kind, moving, len(arguments))
  if case.kind in ("backward", "second_order"):
    arguments.append(arrays[0])
  if case.kind in ("jvp", "second_order"):
    arguments += arguments[:moving]
  return function, arguments, values


def _derived(forward: Callable, kind: str, moving: int, own: int) -> Callable:
  """The forward pass, or the derivative of it that a kind names."""
  if kind == "forward":
    return forward

  def gradient(*xs):
    rest, cotangent = xs[moving:own], xs[own]
    of = lambda *moves: forward(*moves, *rest)
    return jax.vjp(of, *xs[:moving])[1](cotangent)

  if kind == "backward":
    return gradient
  if kind == "jvp":
    return lambda *xs: jax.jvp(
      lambda *moves: forward(*moves, *xs[moving:own]), xs[:moving], xs[own:]
    )
  return lambda *xs: jax.jvp(
    lambda *moves: gradient(*moves, *xs[moving : own + 1]),
    xs[:moving],
    xs[own + 1 :],
  )


def _ours(case: TpuCase, implementation: str) -> Callable:
  """A call of `attend`."""

  def forward(query, key, value, *more):
    options: dict = {}
    if case.name != "full":
      options["mask"] = masks.causal()
    if case.name == "window":
      options["mask"] = masks.sliding_window(WINDOW - 1)
    elif case.name == "documents":
      options["query_segment_ids"] = options["key_segment_ids"] = more[0]
    elif case.name == "softcap_alibi":
      options["score_mod"] = score_mods.compose(
        score_mods.softcap(CAP), score_mods.alibi(more[0])
      )
    elif case.name == "relative_bias":
      options["score_mod"] = score_mods.relative_bias(
        more[0], bidirectional=False
      )
    return attnjax.attend(
      query, key, value, implementation=implementation, **options
    )

  return forward


def _by_head(attention: Callable) -> Callable:
  """A function of ``H T D`` as one of ``1 T H D``."""

  def forward(query, key, value, *more):
    scale = jnp.asarray(query.shape[-1] ** -0.5, query.dtype)
    arrays = [
      jnp.transpose(x[0], (1, 0, 2)) for x in (query * scale, key, value)
    ]
    out = attention(*arrays, *(x[0] for x in more))
    return jnp.transpose(out, (1, 0, 2))[None]

  return forward


def _splash(case: TpuCase, blocks: Blocks) -> Callable:
  """Splash attention of JAX."""
  from jax.experimental.pallas.ops.tpu.splash_attention import (
    splash_attention_kernel as kernels,
  )
  from jax.experimental.pallas.ops.tpu.splash_attention import (
    splash_attention_mask as rules,
  )

  query, key, compute, _ = blocks
  sizes = kernels.BlockSizes(
    block_q=query,
    block_kv=key,
    block_kv_compute=compute,
    block_q_dkv=query,
    block_kv_dkv=key,
    block_kv_dkv_compute=compute,
    use_fused_bwd_kernel=True,
  )
  one = _peer_mask(case, rules)
  mask = rules.MultiHeadMask([one] * case.heads)

  def attention(q, k, v, ids=None):
    kernel = kernels.make_splash_mha(
      mask=mask, head_shards=1, q_seq_shards=1, block_sizes=sizes
    )
    if ids is None:
      return kernel(q, k, v)
    return kernel(q, k, v, segment_ids=kernels.SegmentIds(ids, ids))

  return attention


def _tokamax(case: TpuCase, blocks: Blocks) -> Callable:
  """Splash attention of tokamax."""
  import dataclasses

  from tokamax._src.ops.experimental.tpu.splash_attention import (
    splash_attention_kernel as kernels,
  )
  from tokamax._src.ops.experimental.tpu.splash_attention import (
    splash_attention_mask as rules,
  )

  query, key, compute, scheduled = blocks
  config = dataclasses.replace(
    kernels.SplashConfig.get_default(),
    block_q=query,
    block_kv=key,
    block_kv_compute=compute,
    block_q_dkv=query,
    block_kv_dkv=key,
    block_kv_dkv_compute=compute,
    use_base2_exp=True,
    use_experimental_scheduler=scheduled,
  )
  mask = _peer_mask(case, rules)

  def attention(q, k, v, ids=None):
    kernel = kernels.make_splash_mha(
      mask=mask, q_seq_shards=1, config=config, downcast_smem_data=False
    )
    if ids is None:
      return kernel(q, k, v)
    return kernel(q, k, v, segment_ids=kernels.SegmentIds(ids, ids))

  return attention


def _peer_mask(case: TpuCase, rules):
  """The mask of a case, of a peer's own kind."""
  shape = (case.length, case.length)
  if case.name == "full":
    return rules.FullMask(shape)
  if case.name == "window":
    return rules.LocalMask(shape, (WINDOW - 1, 0), 0)
  return rules.CausalMask(shape)
