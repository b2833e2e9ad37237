"""Speed of attention on the GPU that is here, ours beside the peers'.

First some cases of the conformance suite, so that no fast wrong kernel has a
time. On a machine without a GPU the kernels are interpreted: that shows that it
starts, and no time that it prints means anything.
"""

import functools
import importlib.util
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import attnjax
from attnjax import testing
from experiments.attention_speed import gpu_torch
from experiments.attention_speed.config import GPU_CASES, GpuSpeedConfig, listed
from experiments.attention_speed.tpu_calls import WINDOW, TpuCase, call_of
from experiments.timing.jax_timing import prepare_jax
from experiments.timing.records import Record, record
from experiments.timing.rounds import OK, Prepared, Refused, measure
from experiments.timing.tables import Table, short
from experiments.timing.witness import sample

__all__ = [
  "cases_of",
  "check",
  "conformance",
  "records_of_case",
  "speed_tables",
]

# Weights are rounded to bfloat16 before they are multiplied, by each in its own
# order: relative to the largest value.
_TOLERANCE = 2e-2


def check() -> None:
  """Raises an ImportError where what kernels are written in is missing."""
  if importlib.util.find_spec("triton") is None:
    raise ImportError(
      "kernels for GPUs are written in Triton: pip install 'attnjax[cuda]'"
    )


def ours() -> str | attnjax.Fused:
  """The kernels, or where no GPU is those that are interpreted."""
  on_gpu = jax.default_backend() == "gpu"
  return "fused" if on_gpu else attnjax.Fused(interpret="gpu")


def conformance(config: GpuSpeedConfig) -> Iterator[tuple[str, str]]:
  """(case, "ok" or what is wrong) of some cases of the suite."""

  def attend(query, key, value, **options):
    options.setdefault("implementation", ours())
    return attnjax.attend(query, key, value, **options)

  names = [x.strip() for x in config.conformance.split(",") if x.strip()]
  for case in testing.cases(only=names) if names else []:
    try:
      case.check(attend)
    except Exception as error:
      yield str(case), f"{type(error).__name__}: {str(error)[:120]}"
    else:
      yield str(case), OK


def cases_of(config: GpuSpeedConfig) -> list[TpuCase]:
  """Every case, the shortest first."""
  return [
    TpuCase(name, kind, length, width, config.heads)
    for width, length in config.sizes()
    for name in listed(config.cases, "cases", GPU_CASES)
    for kind in ("forward", "backward")
  ]


def records_of_case(
  config: GpuSpeedConfig, case: TpuCase
) -> list[dict[str, Any]]:
  """A record a contender."""
  contenders: dict[str, Callable] = {
    "fused": functools.partial(_of_jax, ours()),
    "blockwise": functools.partial(_of_jax, "blockwise"),
    "cudnn": _cudnn,
    "tokamax": _tokamax,
    "torch_sdpa": functools.partial(gpu_torch.prepare, "torch_sdpa"),
    "torch_flex": functools.partial(gpu_torch.prepare, "torch_flex"),
  }
  chosen = [x.strip() for x in config.contenders.split(",")]
  prepares = {
    name: functools.partial(contenders[name], case, config.memory_limit_gb)
    for name in chosen
  }
  rows = measure(prepares, config.rounds, ours="fused", tolerance=_TOLERANCE)
  return [record(row, **case._asdict()) for row in rows]


def inputs_of(case: TpuCase, shapes: list, values: dict) -> list[np.ndarray]:
  """The arrays of a case: normal ones, but for those that it fixes."""
  rng = np.random.default_rng(0)
  return [
    values[k] if k in values else rng.normal(size=x.shape).astype(np.float32)
    for k, x in enumerate(shapes)
  ]


def _of_jax(
  contender: Any, case: TpuCase, limit_gb: float
) -> Prepared | Refused:
  """Compiles and warms up one of ours."""
  function, shapes, values = call_of(case, contender, None)
  return _prepared(case, function, shapes, values, limit_gb)


def _prepared(
  case: TpuCase, function: Callable, shapes, values, limit_gb: float
) -> Prepared | Refused:
  """The same of a function of the arguments of a case."""
  arrays = [
    jnp.asarray(x, shape.dtype)
    for x, shape in zip(inputs_of(case, shapes, values), shapes, strict=True)
  ]
  return prepare_jax(
    function,
    tuple(arrays),
    limit_gb=limit_gb,
    witness=lambda out: [
      sample(np.asarray(x, np.float32)) for x in jax.tree.leaves(out)[:3]
    ],
  )


def _peer(case: TpuCase, attend: Callable, limit_gb: float):
  """A peer, of the arguments that ours has."""
  if case.name not in ("causal", "full", "window"):
    return Refused(f"cannot: no {case.name} by a rule")
  _, shapes, values = call_of(case, "blockwise", None)

  def gradient(query, key, value, cotangent):
    return jax.vjp(attend, query, key, value)[1](cotangent)

  function = attend if case.kind == "forward" else gradient
  return _prepared(case, function, shapes, values, limit_gb)


def _cudnn(case: TpuCase, limit_gb: float) -> Prepared | Refused:
  """cuDNN's kernels, as JAX calls them."""
  if jax.default_backend() != "gpu":
    return Refused("cannot: needs a GPU")
  options: dict[str, Any] = {"is_causal": case.name != "full"}
  if case.name == "window":
    options["local_window_size"] = (WINDOW - 1, 0)
  attend = lambda *x: jax.nn.dot_product_attention(
    *x, implementation="cudnn", **options
  )
  return _peer(case, attend, limit_gb)


def _tokamax(case: TpuCase, limit_gb: float) -> Prepared | Refused:
  """tokamax, by the implementation that it chooses."""
  if importlib.util.find_spec("tokamax") is None:
    return Refused("cannot: needs tokamax, pip install 'attnjax[tokamax]'")
  if jax.default_backend() != "gpu":
    return Refused("cannot: needs a GPU")
  import tokamax

  options: dict[str, Any] = {"is_causal": case.name != "full"}
  if case.name == "window":
    options["local_window_size"] = (WINDOW - 1, 0)
  attend = lambda *x: tokamax.dot_product_attention(*x, **options)
  return _peer(case, attend, limit_gb)


def speed_tables(
  said: list[tuple[str, str]], records: Sequence[Record]
) -> list[Table]:
  """What conforms, and the times: a row a case, a column a contender."""
  wrong = [f"{name}: {what}" for name, what in said if what != OK]
  passed = f"{len(said) - len(wrong)} of {len(said)}"
  tables = [
    Table("Conformance", ["cases that pass"], [[passed]], wrong),
  ]
  names = list(dict.fromkeys(each["contender"] for each in records))
  rows: dict[str, dict[str, str]] = {}
  notes = []
  for each in records:
    fields = {name: each[name] for name in TpuCase._fields}
    title = TpuCase(**fields).title
    cell = "-"
    if each["status"] == OK:
      cell = f"{short(each['seconds'] * 1e3)}"
    elif (note := f"{each['contender']}: {each['status']}") not in notes:
      notes.append(note)
    rows.setdefault(title, {})[each["contender"]] = cell
  tables.append(
    Table(
      "Milliseconds",
      ["case", *names],
      [[t, *(cells.get(n, "-") for n in names)] for t, cells in rows.items()],
      notes,
    )
  )
  return tables
