"""The contenders that are written in JAX: attnjax, jax.nn and Flax NNX."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

import attnjax
from attnjax import masks, score_mods
from experiments.attention_speed.cases import CAP, Case, arguments, sample
from experiments.attention_speed.jax_timing import prepare_jax
from experiments.attention_speed.rounds import Prepared, Refused

__all__ = ["JAX_PEERS", "Inputs", "check_implementation", "prepare_peer"]


@dataclasses.dataclass(frozen=True, eq=False)
class Inputs:
  """The arrays of a case on the device, for all contenders in JAX."""

  case: Case
  arrays: tuple
  extra: dict[str, Any]

  @classmethod
  def of(cls, case: Case) -> "Inputs":
    """Makes them."""
    arrays, extra = arguments(case)
    return cls(
      case,
      tuple(map(jnp.asarray, arrays)),
      {name: jnp.asarray(array) for name, array in extra.items()},
    )


def attnjax_call(case: Case, implementation: str | None):
  """`attnjax.attend` of each case, as a user writes it."""
  options: dict[str, Any] = {"implementation": implementation}
  if case.name == "window":
    options["mask"] = masks.sliding_window(case.window - 1)
  elif case.name != "full":
    options["mask"] = masks.causal()

  def call(query, key, value, *, ids=None, slopes=None):
    if ids is not None:
      options.update(query_segment_ids=ids, key_segment_ids=ids)
    if slopes is not None:
      options["score_mod"] = score_mods.compose(
        score_mods.softcap(CAP), score_mods.alibi(slopes)
      )
    return attnjax.attend(query, key, value, **options)

  return call, ""


def jax_nn_call(case: Case, implementation: str | None):
  """`jax.nn.dot_product_attention`; its own window, masks where it has none."""
  del implementation
  if case.name == "softcap_alibi":
    return Refused("cannot: no softcap")
  options: dict[str, Any] = {"is_causal": case.name != "full"}
  if case.name == "window":
    options["local_window_size"] = (case.window - 1, 0)

  def call(query, key, value, *, ids=None):
    mask = None
    if ids is not None:
      mask = ids[:, None, :, None] == ids[:, None, None, :]
    return jax.nn.dot_product_attention(query, key, value, mask=mask, **options)

  return call, "dense mask" if case.name == "documents" else ""


def flax_call(case: Case, implementation: str | None):
  """`flax.nnx.dot_product_attention`, with masks as `flax.nnx` makes them."""
  del implementation
  if case.name == "softcap_alibi":
    return Refused("cannot: no softcap")

  def call(query, key, value, *, ids=None):
    mask = None
    if ids is not None:
      mask = nnx.make_attention_mask(ids, ids, jnp.equal)
    elif case.name == "window":
      positions = jnp.arange(case.length)[None]
      near = lambda q, k: q - k < case.window
      mask = nnx.make_attention_mask(positions, positions, near)
    return nnx.dot_product_attention(
      query, key, value, mask=mask, is_causal=case.name != "full"
    )

  return call, "dense mask" if case.name in ("documents", "window") else ""


JAX_PEERS: dict[str, Callable] = {
  "attnjax": attnjax_call,
  "jax.nn": jax_nn_call,
  "flax": flax_call,
}


def prepare_peer(
  name: str,
  inputs: Inputs,
  *,
  limit_gb: float,
  implementation: str | None = None,
) -> Prepared | Refused:
  """Compiles and warms up one contender on a case."""
  made = JAX_PEERS[name](inputs.case, implementation)
  if isinstance(made, Refused):
    return made
  call, note = made
  return prepare_jax(
    _in_mode(call, inputs.case.mode),
    (inputs.arrays, inputs.extra),
    limit_gb=limit_gb,
    witness=_witness_of_out if inputs.case.mode == "jvp" else _witness,
    note=note,
  )


def check_implementation(name: str | None) -> None:
  """Refuses an implementation that attnjax does not have, before any work.

  Raises:
    ValueError: lists those that there are.
  """
  x = jax.ShapeDtypeStruct((1, 1, 1), jnp.float32)
  call = lambda q, k, v: attnjax.attend(q, k, v, implementation=name)
  jax.eval_shape(call, x, x, x)


def _in_mode(call: Callable, mode: str) -> Callable:
  """The call itself, with its gradients, or with its tangent."""

  def run(arrays, extra):
    attend = lambda q, k, v: call(q, k, v, **extra)
    if mode == "forward":
      return (attend(*arrays),)
    if mode == "jvp":
      return jax.jvp(attend, arrays[:3], arrays[3:])
    out, pull = jax.vjp(attend, *arrays[:3])
    return (out, *pull(arrays[3]))

  return run


def _witness(results) -> list[list[float]]:
  """A sample of each result."""
  return [sample(array) for array in results]


def _witness_of_out(results) -> list[list[float]]:
  """A sample of the output alone: nobody else has a tangent to compare."""
  return _witness(results[:1])
