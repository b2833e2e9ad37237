"""The PyTorch process, seen from here: one child that answers requests.

A process of its own, for the threads of PyTorch and of XLA would fight for the
cores. Only one of the two computes at any moment, so turns can interleave.
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

from experiments.timing.machine import cores
from experiments.timing.rounds import Prepared, Refused

__all__ = ["TorchChild"]

_ROOT = Path(__file__).resolve().parents[2]
_PATIENCE = 900.0  # seconds; a compiler may take minutes, nothing takes more


@dataclasses.dataclass(frozen=True, eq=False)
class _Timed:
  """A contender that lives in the child, under a number."""

  child: "TorchChild"
  number: int

  def __call__(self, calls: int) -> float:
    """Mean seconds of so many calls, measured in the child."""
    answer = self.child.ask(do="time", number=self.number, calls=calls)
    if "refused" in answer:
      raise ChildProcessError(answer["refused"])
    return answer["seconds"]


class TorchChild:
  """A PyTorch process, started by the first request and again if it died.

  Args:
    log: file for what PyTorch prints; its directory exists.

  The version of PyTorch is known once it has been asked something.
  """

  def __init__(self, log: Path):
    self._log = log
    self._process: subprocess.Popen | None = None
    self.version: str | None = None

  def ask(self, **request: object) -> dict[str, Any]:
    """Sends a request, waits, and returns the answer."""
    if self._process is None:
      self._process = self._start()
      answer = self._exchange({"do": "describe", "threads": cores()})
      self.version = answer.get("version")
      if "refused" in answer:
        return answer
    return self._exchange(request)

  def prepare(self, module: str, **arguments: object) -> Prepared | Refused:
    """Prepares a contender in the child: calls `module.prepare(**arguments)`.

    Args:
      module: dotted name; it imports torch and no JAX.
      **arguments: as JSON can hold them.
    """
    # A GPU's times would not compare with those of PyTorch on the CPU.
    if jax.default_backend() != "cpu":
      return Refused(f"not run: JAX runs on {jax.default_backend()}")

    answer = self.ask(do="prepare", module=module, arguments=arguments)
    if "refused" in answer:
      return Refused(answer["refused"])
    return Prepared(call=_Timed(self, answer.pop("number")), **answer)

  def matmul_rate(self, size: int) -> float | None:
    """FLOP/s of PyTorch's matrix product; None without PyTorch."""
    return self.ask(do="matmul", size=size).get("flops")

  def drop(self) -> None:
    """Lets the child free the contenders that it prepared."""
    if self._process is not None:
      self._exchange({"do": "drop"})

  def close(self) -> None:
    """Ends the child."""
    if self._process is not None:
      # It ends by itself when there is nobody to ask it.
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

  def _start(self) -> subprocess.Popen:
    """Starts a child whose output, but for answers, goes to the log."""
    # A compilation read from a cache on disk would tell nothing of its time.
    env = os.environ | {"TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1"}
    # Its threads wait busily for a while after a call: what was measured next
    # took 50 ms on two cores where it takes 43 (torch 2.13, GNU OpenMP).
    env.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    path = [str(_ROOT), *filter(None, [env.get("PYTHONPATH")])]
    env["PYTHONPATH"] = os.pathsep.join(path)

    with self._log.open("ab") as log:
      return subprocess.Popen(
        [sys.executable, "-m", "experiments.timing.torch_server"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        env=env,
        text=True,
      )

  def _exchange(self, request: dict[str, object]) -> dict[str, Any]:
    """Writes a line and reads one, or says how the child died of it."""
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
    # End of file: it is dead. The next request starts another.
    code = process.wait()
    self._process = None
    return {"refused": f"failed: PyTorch's process ended with {code}"}
