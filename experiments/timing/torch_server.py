"""The PyTorch process, from inside: answers lines of JSON with lines of JSON.

Started by `torch_process`; it computes only while it is asked to. PyTorch is an
extra: where it is missing, every request is answered by saying so.
"""

import importlib
import json
import os
import sys
from collections.abc import Callable
from typing import Any, TextIO

__all__ = ["Server", "main"]

_MISSING = "not run: pip install 'attnjax[torch]'"


class Server:
  """Contenders that were prepared, by number, and answers to requests."""

  def __init__(self) -> None:
    self.calls: dict[int, Callable[[int], float]] = {}

  def answer(self, request: dict[str, Any]) -> dict[str, Any]:
    """Does what a request says and returns the answer.

    Args:
      request: `do` is one of describe, prepare, time, matmul and drop; the
        other fields are its arguments.
    """
    # Here, so that a process without PyTorch lives to say so.
    try:
      from experiments.timing import torch_timing

      if request["do"] == "prepare":
        module = importlib.import_module(request["module"])
    except ImportError as error:
      return {"refused": f"{_MISSING} ({error})"}

    match request["do"]:
      case "describe":
        return torch_timing.describe(request["threads"])
      case "matmul":
        return {"flops": torch_timing.matmul_rate(request["size"])}
      case "time":
        return {"seconds": self.calls[request["number"]](request["calls"])}
      case "drop":
        self.calls.clear()
        return {}

    call, answer = module.prepare(**request["arguments"])
    if call is not None:
      answer["number"] = len(self.calls)
      self.calls[answer["number"]] = call
    return answer


def main(requests: TextIO, replies: TextIO) -> None:
  """Answers every line of a stream; an error is an answer too."""
  server = Server()

  for line in requests:
    try:
      answer = server.answer(json.loads(line))
    except NotImplementedError as error:
      answer = {"refused": f"cannot: {_first_line(error)}"}
    except Exception as error:
      answer = {"refused": f"failed: {_first_line(error)}"}

    replies.write(json.dumps(answer) + "\n")
    replies.flush()


def _first_line(error: BaseException) -> str:
  """Type and first line of an error."""
  lines = str(error).strip().splitlines() or [""]
  return f"{type(error).__name__}: {lines[0][:120]}"


if __name__ == "__main__":
  # Answers have a pipe of their own, and descriptor 1 goes to the log: the
  # compilers that PyTorch starts print.
  with os.fdopen(os.dup(1), "w", encoding="utf-8") as pipe:
    os.dup2(2, 1)
    main(sys.stdin, pipe)
