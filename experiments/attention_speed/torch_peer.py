"""The process that runs PyTorch: answers lines of JSON with lines of JSON.

Started by `torch_child`; it computes only while it is asked to. PyTorch is an
extra: where it is missing, every request is answered by saying so.
"""

import json
import os
import sys
from collections.abc import Callable
from typing import Any, TextIO

__all__ = ["main"]

_MISSING = "not run: pip install 'attnjax[torch]'"


class Peer:
  """What the process holds between two requests: contenders by a number."""

  def __init__(self) -> None:
    self.calls: dict[int, Callable[[int], float]] = {}

  def answer(self, request: dict[str, Any]) -> dict[str, Any]:
    """Does what is asked; whatever goes wrong is an answer too."""
    # Here, so that a process without PyTorch lives to say so.
    try:
      from experiments.attention_speed import torch_attention, torch_model
      from experiments.attention_speed import torch_timing as timing
    except ImportError as error:
      return {"refused": f"{_MISSING} ({error})"}
    do = request.pop("do")
    if do == "describe":
      return timing.describe(request["threads"])
    if do == "matmul":
      return {"flops": timing.matmul_rate(request["size"])}
    if do == "time":
      return {"seconds": self.calls[request["number"]](request["calls"])}
    if do == "drop":
      self.calls.clear()
      return {}
    rooms = {"attention": torch_attention, "model": torch_model}
    if do == "memory":
      try:
        from experiments.memory_speed import torch_titans
      except ImportError as error:
        return {"refused": f"{_MISSING} ({error})"}
      rooms[do] = torch_titans
    call, answer = rooms[do].prepare(**request)
    if call is not None:
      answer["number"] = len(self.calls)
      self.calls[answer["number"]] = call
    return answer


def main(requests: TextIO, replies: TextIO) -> None:
  """Answers until there is nobody left who asks."""
  peer = Peer()
  for line in requests:
    try:
      answer = peer.answer(json.loads(line))
    except NotImplementedError as error:
      answer = {"refused": f"cannot: {_first_line(error)}"}
    except Exception as error:
      answer = {"refused": f"failed: {_first_line(error)}"}
    replies.write(json.dumps(answer) + "\n")
    replies.flush()


def _first_line(error: BaseException) -> str:
  """What an error says first."""
  lines = str(error).strip().splitlines() or [""]
  return f"{type(error).__name__}: {lines[0][:120]}"


if __name__ == "__main__":
  # Answers have a pipe of their own: compilers like to print.
  with os.fdopen(os.dup(1), "w", encoding="utf-8") as pipe:
    os.dup2(2, 1)
    main(sys.stdin, pipe)
