"""Attention calls of every contender, timed case by case."""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

import attnjax
from attnjax import masks, score_mods
from experiments.attention_speed.cases import (
  CAP,
  CASES,
  Case,
  arguments,
  neighborhood,
  useful_flops,
)
from experiments.attention_speed.config import (
  CONTENDERS,
  PASSES,
  AttentionSpeedConfig,
  listed,
)
from experiments.timing.jax_timing import prepare_jax
from experiments.timing.records import record
from experiments.timing.rounds import (
  Measured,
  Prepare,
  Prepared,
  Refused,
  measure,
)
from experiments.timing.torch_process import TorchChild
from experiments.timing.witness import sample

__all__ = [
  "Inputs",
  "cases_of",
  "check_devices",
  "check_implementation",
  "prepare_peer",
  "records_of_case",
]

OURS, OUR_JVP = "attnjax", "attnjax_jvp"
# A function (query, key, value, **arrays by name) -> output, and a note on how
# it does what is asked.
Call = tuple[Callable, str]


def cases_of(config: AttentionSpeedConfig) -> list[Case]:
  """All cases of a config, by head width, then by length."""
  sizes = sorted(config.sizes(), key=lambda size: (size[0], size[1]))
  names = listed(config.cases, "cases", CASES)
  modes = listed(config.passes, "passes", PASSES)

  # Short ones first: a run that is stopped has whole lengths. A step of
  # decoding has no backward pass that anybody takes.
  return [
    Case(
      name=name,
      mode=mode,
      length=length,
      head_width=width,
      heads=config.heads,
      batch=config.batch,
      window=config.window,
      seed=config.seed,
    )
    for (width, length), name, mode in itertools.product(sizes, names, modes)
    if name != "decode" or mode == "forward"
  ]


def records_of_case(
  config: AttentionSpeedConfig, case: Case, child: TorchChild, rate: float
) -> Iterator[dict[str, Any]]:
  """Measures every contender on one case; yields a record each.

  Args:
    config: which contenders, and how long.
    case: the attention call.
    child: the PyTorch process.
    rate: FLOP/s of this machine's matrix products.
  """
  for row in measure(_prepares(config, case, child), config.rounds, ours=OURS):
    yield _record(case, row, rate)
  child.drop()


def _prepares(
  config: AttentionSpeedConfig, case: Case, child: TorchChild
) -> dict[str, Prepare]:
  """Name -> what compiles and warms up that contender, ours first."""
  limit = config.memory_limit_gb
  inputs = Inputs.of(case, config.devices)
  jax_peer = functools.partial(
    prepare_peer, limit_gb=limit, implementation=config.implementation
  )
  found: dict[str, Prepare] = {}

  for name in listed(config.contenders, "contenders", CONTENDERS):
    if name in JAX_PEERS:
      found[name] = functools.partial(jax_peer, name, inputs)
    else:
      found[name] = functools.partial(
        child.prepare,
        "experiments.attention_speed.torch_attention",
        contender=name,
        case=dataclasses.asdict(case),
        limit_gb=limit,
      )
    # A contender of its own, beside our forward pass; no peer has a jvp.
    if name == OURS and config.jvp and case.mode == "forward":
      tangent = Inputs.of(dataclasses.replace(case, mode="jvp"), config.devices)
      found[OUR_JVP] = functools.partial(jax_peer, name, tangent)
  return found


def _record(case: Case, row: Measured, rate: float) -> dict[str, Any]:
  """A record: labels of the case, what was measured, share of the rate."""
  mode = "jvp" if row.contender == OUR_JVP else case.mode
  flops = useful_flops(dataclasses.replace(case, mode=mode))
  per_second = flops / row.seconds if row.seconds else None

  return record(
    row,
    case=case.name,
    mode=case.mode,
    length=case.length,
    head_width=case.head_width,
    useful_flops=flops,
    matmul_fraction=per_second / rate if per_second else None,
  )


@dataclasses.dataclass(frozen=True, eq=False)
class Inputs:
  """The arrays of a case on the devices, for all contenders in JAX."""

  case: Case
  arrays: tuple[jax.Array, ...]
  extra: dict[str, jax.Array]
  mesh: Mesh | None = None  # whose one axis heads are divided among

  @classmethod
  def of(cls, case: Case, devices: int = 1) -> "Inputs":
    """Makes the arrays of a case, their heads divided among devices."""
    arrays, extra = arguments(case)
    if devices == 1:
      return cls(
        case,
        tuple(map(jnp.asarray, arrays)),
        {name: jnp.asarray(array) for name, array in extra.items()},
      )

    mesh = jax.make_mesh((devices,), ("heads",))
    specs = _by_heads(arrays, extra)
    placed, named = jax.tree.map(
      lambda x, spec: jax.device_put(x, NamedSharding(mesh, spec)),
      (tuple(arrays), extra),
      specs,
    )
    return cls(case, placed, named, mesh)


def _by_heads(arrays: Sequence, extra: Mapping[str, Any]) -> tuple:
  """How heads are divided: of ``B T H D``, of slopes; ids are everywhere."""
  return (
    tuple(P(None, None, "heads") for _ in arrays),
    {name: P("heads") if name == "slopes" else P() for name in extra},
  )


def attnjax_call(case: Case, implementation: str | None) -> Call:
  """`attnjax.attend` of a case, as a user writes it."""
  options: dict[str, Any] = {"implementation": implementation}
  # `sliding_window` counts the keys before a query, the case its own one too.
  if case.name == "window":
    options["mask"] = masks.sliding_window(case.window - 1)
  elif case.name == "natten":  # as one ports it, a function of positions
    near = lambda b, h, q, k: neighborhood(case, q, k)
    options["mask"] = masks.from_fn(near)
  elif case.causal:
    options["mask"] = masks.causal()

  def call(query, key, value, *, ids=None, slopes=None):
    if case.name == "segments":
      options["mask"] = masks.causal() & masks.segments(ids)
    elif ids is not None:
      options.update(query_segment_ids=ids, key_segment_ids=ids)
    if slopes is not None:
      options["score_mod"] = score_mods.compose(
        score_mods.softcap(CAP), score_mods.alibi(slopes)
      )
    return attnjax.attend(query, key, value, **options)

  return call, ""


def jax_nn_call(case: Case, implementation: str | None) -> Call | Refused:
  """`jax.nn.dot_product_attention`; its own window, masks where it has none."""
  del implementation
  if case.name == "softcap_alibi":
    return Refused("cannot: no softcap")

  # Its masks are dense, but for these two rules.
  options: dict[str, Any] = {"is_causal": case.causal}
  if case.name == "window":
    options["local_window_size"] = (case.window - 1, 0)

  def call(query, key, value, *, ids=None):
    mask = None
    if ids is not None:
      mask = ids[:, None, :, None] == ids[:, None, None, :]
    elif case.name == "natten":
      mask = _neighbors(case)[None, None]
    return jax.nn.dot_product_attention(query, key, value, mask=mask, **options)

  return call, "dense mask" if case.packed or case.name == "natten" else ""


def flax_call(case: Case, implementation: str | None) -> Call | Refused:
  """`flax.nnx.dot_product_attention`, with masks as `flax.nnx` makes them."""
  del implementation
  if case.name == "softcap_alibi":
    return Refused("cannot: no softcap")

  def call(query, key, value, *, ids=None):
    mask = None
    if ids is not None:
      mask = nnx.make_attention_mask(ids, ids, jnp.equal)
    elif case.name == "natten":
      mask = _neighbors(case)[None, None]
    # There is no option for a window: it is a dense mask too.
    elif case.name == "window":
      positions = jnp.arange(case.length)[None]
      near = lambda q, k: q - k < case.window
      mask = nnx.make_attention_mask(positions, positions, near)

    return nnx.dot_product_attention(
      query,
      key,
      value,
      mask=mask,
      is_causal=case.causal,
    )

  dense = case.packed or case.name in ("window", "natten")
  return call, "dense mask" if dense else ""


def _neighbors(case: Case) -> jax.Array:
  """The mask of case "natten" as an array, bool ``T T``."""
  at = jnp.arange(case.length)
  return neighborhood(case, at[:, None], at[None])


JAX_PEERS: dict[str, Callable[[Case, str | None], Call | Refused]] = {
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
  mode = inputs.case.mode
  made = JAX_PEERS[name](inputs.case, implementation)
  if isinstance(made, Refused):
    return made
  call, note = made
  if inputs.mesh is not None and name == OURS:
    call = _on_each_device(call, inputs)

  def witness(results: Sequence[np.ndarray]) -> list[list[float]]:
    # Of a jvp the output alone: nobody else has a tangent to compare.
    return [sample(x) for x in (results[:1] if mode == "jvp" else results)]

  return prepare_jax(
    _in_mode(call, mode),
    (inputs.arrays, inputs.extra),
    limit_gb=limit_gb,
    witness=witness,
    note=note,
  )


def _on_each_device(call: Callable, inputs: Inputs) -> Callable:
  """The same call with each device's own heads; peers are divided by XLA."""
  specs, named = _by_heads(inputs.arrays[:3], inputs.extra)

  def divided(query, key, value, **extra):
    local = jax.shard_map(
      lambda arrays, extra: call(*arrays, **extra),
      mesh=inputs.mesh,
      in_specs=(specs, named),
      out_specs=specs[0],
    )
    return local((query, key, value), extra)

  return divided


def check_devices(count: int) -> None:
  """Checks before any work that there are so many devices.

  Raises:
    ValueError: there are fewer; says how a CPU has more.
  """
  if count > jax.device_count():
    raise ValueError(
      f"devices must be at most {jax.device_count()}, which JAX has here, got"
      f" {count}; XLA_FLAGS=--xla_force_host_platform_device_count={count} in"
      " the environment gives a CPU so many"
    )


def check_implementation(name: str | None) -> None:
  """Checks before any work that attnjax has an implementation of that name.

  Raises:
    ValueError: it has none; lists those that there are.
  """
  # Shapes alone: nothing is compiled for the question.
  x = jax.ShapeDtypeStruct((1, 1, 1), jnp.float32)
  call = lambda q, k, v: attnjax.attend(q, k, v, implementation=name)
  jax.eval_shape(call, x, x, x)


def _in_mode(call: Callable, mode: str) -> Callable:
  """(arrays, extra) -> output, with gradients or a tangent, by the mode."""

  def run(arrays, extra):
    attend = lambda q, k, v: call(q, k, v, **extra)
    if mode == "forward":
      return (attend(*arrays),)
    if mode == "jvp":
      # Tangents by all three, in one pass.
      return jax.jvp(attend, arrays[:3], arrays[3:])
    # A random cotangent: with the ones of a sum, a lost row would not show.
    out, pull = jax.vjp(attend, *arrays[:3])
    return (out, *pull(arrays[3]))

  return run
