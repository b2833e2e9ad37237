"""What compilers make of our kernels for GPUs that are not here.

Registers and spills are those that the assembler tells, instructions those that
the program has once it is assembled. No GPU is needed, and the plugin of JAX
only so that calls are not refused.
"""

import collections
import pathlib
import re
import subprocess
import tempfile
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from attnjax.ops.target import traced_for
from attnjax.ops.tiles.gpu.compiled import compiled
from experiments.attention_speed.config import GpuCostConfig
from experiments.attention_speed.tpu_calls import TpuCase, call_of
from experiments.timing.records import Record
from experiments.timing.rounds import OK
from experiments.timing.tables import Table

__all__ = ["cases_of", "gpu_table", "records_of_case"]

# Products on the matrix unit of each generation, asynchronous copies, and loads
# and stores of what did not fit the registers.
_COUNTED = {
  "products": ("HMMA", "HGMMA", "UTCHMMA", "UTCQMMA"),
  "copies": ("LDGSTS", "UTMALDG"),
  "spilled": ("LDL", "STL"),
}


def cases_of(config: GpuCostConfig) -> list[tuple[str, TpuCase]]:
  """(GPU, case), of each of both."""
  at = lambda name, kind, width: TpuCase(name, kind, config.length, width)
  found = [
    at("causal", "backward", 128),
    at("causal", "backward", 64),
    at("softcap_alibi", "backward", 128),
    at("window", "backward", 128),
    at("documents", "backward", 128),
    at("causal", "second_order", 128),
  ][: config.calls]
  return [(gpu, case) for gpu in config.gpus.split(",") for case in found]


def records_of_case(gpu: str, case: TpuCase) -> list[dict[str, Any]]:
  """A record a kernel, in the order in which a program calls them."""
  function, arguments, _ = call_of(case, "fused", None)
  label = {"gpu": gpu, **case._asdict()}
  with traced_for(f"gpu:{gpu}"):
    try:
      jaxpr = jax.make_jaxpr(function)(*arguments).jaxpr
    except NotImplementedError as error:
      return [label | _made(status=f"cannot: {str(error)[:150]}")]
  records, seen = [], set()
  for line in _kernels(jaxpr):
    p = line.params
    dtypes = tuple(
      jnp.dtype(v.aval.dtype) for v in (*line.invars, *line.outvars)
    )
    key = p["text"], dtypes
    if key in seen:
      continue
    seen.add(key)
    made = compiled(p["text"], dtypes, p["machine"], p["chosen"])
    records.append(
      label
      | _made(
        status=OK,
        sums=len(line.outvars),
        warps=p["chosen"].warps,
        stages=p["chosen"].stages,
        shared=made.metadata.shared,
        **_assembled(made.asm["ptx"], p["machine"].capability),
      )
    )
  return records


def _made(status: str, **fields) -> dict[str, Any]:
  """The fields of a record, those that are not known None."""
  names = ["sums", "warps", "stages", "shared", "registers", "spills"]
  names += list(_COUNTED)
  return {"status": status} | {name: fields.get(name) for name in names}


def _kernels(jaxpr):
  """The calls of kernels in a program, in order; sums become theirs here."""
  from attnjax.ops.tiles.tile_sum import sum_by_kernel

  for line in jaxpr.eqns:
    if line.primitive.name == "attnjax_gpu_kernel":
      yield line
    elif line.primitive.name == "tile_sum":
      lower = lambda *xs, line=line: sum_by_kernel(*xs, **line.params)
      inner = jax.make_jaxpr(lower)(*(v.aval for v in line.invars))
      yield from _kernels(inner.jaxpr)
    else:
      for inner in jax.tree.leaves(list(line.params.values())):
        if hasattr(inner, "eqns"):
          yield from _kernels(getattr(inner, "jaxpr", inner))


def _assembled(ptx: str, capability: int) -> dict[str, int]:
  """What the assembler of Triton says of a kernel, and what it made."""
  import triton

  tools = pathlib.Path(triton.__file__).parent / "backends/nvidia/bin"
  arch = f"sm_{capability}" + ("a" if capability >= 90 else "")
  with tempfile.TemporaryDirectory() as folder:
    text, binary = (pathlib.Path(folder, f"kernel.{x}") for x in ("ptx", "bin"))
    text.write_text(ptx)
    run = lambda *words: subprocess.run(
      [str(x) for x in words], capture_output=True, text=True, check=True
    )
    said = run(
      tools / "ptxas", "-v", f"-arch={arch}", text, "-o", binary
    ).stderr
    listing = run(tools / "cuobjdump", "-sass", binary).stdout

  number = lambda pattern: sum(map(int, re.findall(pattern, said)))
  words = collections.Counter(
    re.findall(r"^\s+/\*\w+\*/\s+(?:@!?\w+ )?(\w+)", listing, re.M)
  )
  return {
    "registers": number(r"Used (\d+) registers"),
    "spills": number(r"(\d+) bytes spill"),
  } | {
    name: sum(words[each] for each in every) for name, every in _COUNTED.items()
  }


def gpu_table(records: Sequence[Record]) -> Table:
  """A row a kernel."""
  header = ["GPU", "call", "sums", "warps", "stages", "registers"]
  header += ["spills, bytes", "shared, KiB", "products", "copies"]
  rows, notes = [], []
  for each in records:
    fields = {name: each[name] for name in TpuCase._fields}
    title = TpuCase(**fields).title
    if each["status"] != OK:
      rows.append([each["gpu"], title] + ["-"] * 8)
      notes.append(f"{each['gpu']}, {title}: {each['status']}")
      continue
    names = ("sums", "warps", "stages", "registers", "spills")
    rows.append(
      [each["gpu"], title]
      + [str(each[name]) for name in names]
      + [f"{each['shared'] / 2**10:.0f}"]
      + [str(each[name]) for name in ("products", "copies")]
    )
  return Table("Kernels for GPUs", header, rows, notes)
