"""Our side of the PyTorch process: one child, kept alive, asked in lines.

Only one of the two processes computes at any moment, so that their turns
interleave and take nothing from each other.
"""

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import jax

from experiments.attention_speed.cases import Case
from experiments.attention_speed.rounds import Prepared, Refused

__all__ = ["TorchChild", "cores"]

_ROOT = Path(__file__).resolve().parents[2]
_PATIENCE = 900.0  # seconds; a compiler may take minutes, nothing takes more


def cores() -> int:
  """How many cores this process may use."""
  if hasattr(os, "sched_getaffinity"):
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1


@dataclasses.dataclass(frozen=True, eq=False)
class _Timed:
  """A contender in the child, by its number."""

  child: "TorchChild"
  number: int

  def __call__(self, calls: int) -> float:
    """Mean seconds of so many calls, measured in the child."""
    answer = self.child.ask(do="time", number=self.number, calls=calls)
    if "refused" in answer:
      raise ChildProcessError(answer["refused"])
    return answer["seconds"]


class TorchChild:
  """The PyTorch process, started when first asked, and anew if it died.

  Args:
    log: file for what PyTorch prints; its directory exists.
  """

  def __init__(self, log: Path):
    self._log = log
    self._process: subprocess.Popen | None = None
    self.version: str | None = None

  def ask(self, **request: Any) -> dict[str, Any]:
    """Sends one request and waits for its answer."""
    if self._process is None:
      self._process = self._start()
      answer = self._exchange({"do": "describe", "threads": cores()})
      self.version = answer.get("version")
      if "refused" in answer:
        return answer
    return self._exchange(request)

  def attention(
    self, contender: str, case: Case, limit_gb: float
  ) -> Prepared | Refused:
    """Prepares an attention call in the child."""
    fields = dataclasses.asdict(case)
    return self._prepare(
      do="attention", contender=contender, case=fields, limit_gb=limit_gb
    )

  def model(self, arrays: Path, **sizes: Any) -> Prepared | Refused:
    """Prepares a training step in the child, on arrays from a file."""
    return self._prepare(do="model", arrays=str(arrays), **sizes)

  def memory(self, arrays: Path, **sizes: Any) -> Prepared | Refused:
    """Prepares the memory of titans-pytorch in the child."""
    return self._prepare(do="memory", arrays=str(arrays), **sizes)

  def matmul_rate(self, size: int) -> float | None:
    """FLOP/s of PyTorch's product; None without PyTorch."""
    return self.ask(do="matmul", size=size).get("flops")

  def drop(self) -> None:
    """Lets the child free what it prepared."""
    if self._process is not None:
      self._exchange({"do": "drop"})

  def close(self) -> None:
    """Ends the child."""
    if self._process is not None:
      for pipe in (self._process.stdin, self._process.stdout):
        if pipe is not None:
          with contextlib.suppress(BrokenPipeError):
            pipe.close()
      try:
        self._process.wait(timeout=10)
      except subprocess.TimeoutExpired:
        self._process.kill()
        self._process.wait()
      self._process = None

  def __enter__(self) -> "TorchChild":
    return self

  def __exit__(self, *_: object) -> None:
    self.close()

  def _prepare(self, **request: Any) -> Prepared | Refused:
    """Sends a request that makes a contender ready."""
    if jax.default_backend() != "cpu":
      return Refused(f"not run: JAX runs on {jax.default_backend()}")
    answer = self.ask(**request)
    if "refused" in answer:
      return Refused(answer["refused"])
    return Prepared(call=_Timed(self, answer.pop("number")), **answer)

  def _start(self) -> subprocess.Popen:
    """A child whose errors go to the log."""
    # A compilation that a disk remembers would say nothing of its time.
    env = os.environ | {"TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1"}
    path = [str(_ROOT), *filter(None, [env.get("PYTHONPATH")])]
    env["PYTHONPATH"] = os.pathsep.join(path)
    with self._log.open("ab") as log:
      return subprocess.Popen(
        [sys.executable, "-m", "experiments.attention_speed.torch_peer"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        env=env,
        text=True,
      )

  def _exchange(self, request: dict[str, Any]) -> dict[str, Any]:
    """One line there, one line back, or how the child died of it."""
    process = self._process
    if process is None or process.stdin is None or process.stdout is None:
      raise RuntimeError("the PyTorch process was not started")
    timer = threading.Timer(_PATIENCE, process.kill)
    timer.start()
    try:
      process.stdin.write(json.dumps(request) + "\n")
      process.stdin.flush()
      line = process.stdout.readline()
    except BrokenPipeError:
      line = ""
    finally:
      timer.cancel()
    if line:
      return json.loads(line)
    code = process.wait()
    self._process = None
    return {"refused": f"failed: PyTorch's process ended with {code}"}
