"""Static cost of attention on TPUs that are not here: every case, every chip.

Each call is compiled in a process of its own; the schedules that the compiler
writes are counted here, see `attnjax.plan.tpu_kernel_cost`.
"""

import importlib.util
import json
import os
import pathlib
import pickle
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import Any

from attnjax.plan.hardware import CHIPS, Chip
from attnjax.plan.tpu_kernel_cost import KernelCost, kernel_costs
from attnjax.plan.tpu_schedule import DUMPED_PASSES
from experiments.attention_speed.config import (
  TPU_CASES,
  TPU_PASSES,
  TpuCostConfig,
  listed,
)
from experiments.attention_speed.tpu_calls import (
  PEERS,
  Blocks,
  TpuCase,
  why_not,
)
from experiments.timing.records import Record
from experiments.timing.rounds import OK

__all__ = ["cases_of", "check", "compiled_cost", "place", "records_of_case"]

_TOPOLOGIES = {"v5e": "v5e:2x2", "v5p": "v5p:2x2x1", "v6e": "v6e:2x2"}
_TOPOLOGIES |= {"tpu7x": "tpu7x:2x2x1"}
# A program whose files no longer change is compiled, whether or not the
# compiler returns. Of a large kernel one pass may take a minute where others
# compute too, and ended before it the kernel has no schedule.
_QUIET = 90.0
# The kernels of a derivative, by name: of the forward pass are others.
_OF_DERIVATIVE = re.compile("attnjax_sum|dq|dkv")


def check() -> None:
  """Raises an ImportError where the compiler is not installed."""
  if importlib.util.find_spec("libtpu") is None:
    raise ImportError(
      "static cost on a TPU needs its compiler: pip install 'attnjax[tpu]'"
    )


def cases_of(config: TpuCostConfig) -> list[TpuCase]:
  """The cases, those that tell the most first."""
  at = lambda name, kind, length=config.length, width=128: TpuCase(
    name, kind, length, width, config.heads
  )
  found = [
    at("causal", "forward"),
    at("full", "forward"),
    at("causal", "backward"),
    at("causal", "forward", width=64),
    at("window", "forward"),
    at("documents", "forward"),
    at("documents", "backward"),
    at("softcap_alibi", "backward"),
    at("relative_bias", "forward"),
    at("causal", "jvp"),
    at("causal", "second_order"),
  ]
  if config.long:
    found += [
      at("causal", "forward", config.long),
      at("full", "forward", config.long),
      at("causal", "backward", config.long),
    ]
  return [
    case
    for case in found
    if case.name in listed(config.cases, "cases", TPU_CASES)
    and case.kind in listed(config.passes, "passes", TPU_PASSES)
  ]


def place(record: Record) -> tuple[str, ...]:
  """The chip and the case of a record, as text."""
  names = ("chip", *TpuCase._fields)
  return tuple(str(record[name]) for name in names)


def records_of_case(
  config: TpuCostConfig, chip: str, case: TpuCase, known: Sequence[Record]
) -> Iterator[dict[str, Any]]:
  """A record a contender; of a peer, that of its best blocks.

  Args:
    config: of the experiment.
    chip: name.
    case: the call.
    known: records of other cases: the blocks that are a peer's best for one of
      a kind are taken for the others, but for a window, which is narrow.
  """
  for contender in ("fused", "blockwise", *PEERS):
    if contender == "blockwise" and case.length == config.long:
      continue
    label = {"chip": chip, **case._asdict(), "contender": contender}
    reason = why_not(case, contender)
    if reason is not None:
      yield label | _missing(reason)
      continue

    every: list = [None]
    if contender in PEERS:
      every = _to_try(config, case, contender, known, label)
    tried = [
      compiled_cost(config, chip, case, contender, blocks) for blocks in every
    ]
    worked = [x for x in tried if x["status"] == OK]
    yield label | min(worked or tried[:1], key=lambda x: x["kernels_us"] or 0.0)


def _to_try(
  config: TpuCostConfig,
  case: TpuCase,
  contender: str,
  known: Sequence[Record],
  label: Record,
) -> list[Blocks]:
  """The blocks that a peer is compiled with."""
  if case.name != "window":
    for each in known:
      alike = all(each[n] == label[n] for n in ("chip", "kind", "contender"))
      if alike and each["status"] == OK and each["name"] == "causal":
        return [Blocks.read(each["blocks"])]

  found = [Blocks(*sizes) for sizes in config.sizes(case.name, case.kind)]
  if contender == "tokamax" and case.kind == "forward":
    found += [x._replace(scheduled=True) for x in found]
  return found


def _missing(reason: str) -> dict[str, Any]:
  """What is recorded of a call that has no cost."""
  empty = dict.fromkeys(
    ("blocks", "kernels_us", "whole_us", "matrix", "spills", "temporary")
  )
  return {"status": reason, **empty, "note": ""}


def compiled_cost(
  config: TpuCostConfig,
  chip: str,
  case: TpuCase,
  contender: str,
  blocks: Blocks | None,
) -> dict[str, Any]:
  """Compiles a call and counts its cost."""
  folder = pathlib.Path(tempfile.mkdtemp(prefix="tpu_cost_"))
  try:
    asked = {
      "case": list(case),
      "contender": contender,
      "blocks": blocks and str(blocks),
      "topology": _TOPOLOGIES[chip],
      # A tile of logits of ours as a loop is better off in VMEM.
      "operands_in_hbm": contender != "blockwise",
    }
    (folder / "call.json").write_text(json.dumps(asked))
    problem = _compile(folder, config.seconds, dump=True)
    memory = folder / "memory.json"
    if problem is None and not memory.exists():
      _compile(folder, config.seconds, dump=False)
    if problem is not None:
      return _missing(problem)

    tables, turns, taken = pickle.loads((folder / "found.pickle").read_bytes())
    costs = kernel_costs(
      list((folder / "dump").iterdir()),
      CHIPS[chip],
      tables=tables,
      turns=turns,
      taken=taken,
    )
    temporary = (
      json.loads(memory.read_text())["temporary"] if memory.exists() else None
    )
    return _figures(costs, CHIPS[chip], case) | {
      "blocks": blocks and str(blocks),
      "temporary": temporary,
    }
  finally:
    shutil.rmtree(folder, ignore_errors=True)


def _compile(folder: pathlib.Path, seconds: float, *, dump: bool) -> str | None:
  """Runs the compiler until it is done; what is wrong, or None."""
  # libtpu ends a process that has flags for CPUs in XLA_FLAGS.
  environment = {n: x for n, x in os.environ.items() if n != "XLA_FLAGS"}
  environment |= {"JAX_PLATFORMS": "cpu"}
  files = folder / "dump"
  if dump:
    files.mkdir()
    environment["LIBTPU_INIT_ARGS"] = (
      f"--xla_jf_dump_to={files} --xla_jf_dump_llo_text=true"
      " --xla_jf_emit_annotations=true"
      f" --xla_jf_dump_llo_pass_label_regex={DUMPED_PASSES}"
    )
  module = "experiments.attention_speed.tpu_compile"
  with (folder / "log").open("wb") as log:
    child = subprocess.Popen(
      [sys.executable, "-m", module, str(folder)],
      env=environment,
      stdout=log,
      stderr=subprocess.STDOUT,
    )
    try:
      return _wait(child, folder, seconds, dump=dump)
    finally:
      if child.poll() is None:
        child.send_signal(signal.SIGKILL)
        child.wait()


def _wait(
  child, folder: pathlib.Path, seconds: float, *, dump: bool
) -> str | None:
  """Waits until a compiler is done; what is wrong, or None."""
  end = time.monotonic() + seconds
  while child.poll() is None:
    time.sleep(0.5)
    if dump and _is_written(folder / "dump"):
      return None
    if time.monotonic() > end:
      return f"the compiler takes more than {seconds:.0f} s"
  if child.returncode:
    lines = (folder / "log").read_text(errors="replace").strip().split("\n")
    said = [x for x in lines if re.match(r"[\w.]*(Error|Exception)\b", x)]
    return (said or lines)[-1][:160]
  return None


def _is_written(files: pathlib.Path) -> bool:
  """Whether the whole program is in a dump that no longer grows."""
  every = list(files.iterdir())
  if not any(x.name.endswith("TLP-hlo.txt") for x in every):
    return False
  return time.time() - max(x.stat().st_mtime for x in every) > _QUIET


def _figures(
  costs: Sequence[KernelCost], chip: Chip, case: TpuCase
) -> dict[str, Any]:
  """Sums of the kernels that a pass is of, and of the whole program."""
  clock = chip.clock or 1.0
  written = [x for x in costs if x.written]
  if not all(x.read for x in written):
    return _missing("the compiler has written no schedule of a kernel")
  if case.kind in ("backward", "jvp"):
    written = [x for x in written if _OF_DERIVATIVE.search(x.name)]
  cycles = sum(x.runs * x.cycles for x in written)
  busy = sum(x.runs * x.cycles * x.matrix for x in written)
  unknown = sum(x.unknown for x in written)
  unread = sum(not x.read for x in costs)
  notes = [
    *([f"{unknown} branches of values not known"] if unknown else []),
    *([f"without {unread} small kernels of XLA"] if unread else []),
  ]
  whole = sum(x.seconds(clock) for x in costs) * 1e6
  return {
    "status": OK,
    "blocks": None,
    # Without kernels of its own a program is XLA's from end to end.
    "kernels_us": sum(x.seconds(clock) for x in written) * 1e6
    if written
    else whole,
    "whole_us": whole,
    "matrix": busy / cycles if cycles else None,
    "spills": sum(x.spills for x in written),
    "temporary": None,
    "note": "; ".join(notes),
  }
