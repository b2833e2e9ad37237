"""The processes of a run: one decides, all agree, and none waits for the dead.

`jax.distributed` brings them together. What it lacks is here: a check that all
were started with the same config, and an end without delay where one is lost.
"""

import contextlib
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

import jax
import numpy as np
from jax.experimental import multihost_utils

from attnjax.training.cluster import ProcessesConfig, start_arguments
from attnjax.training.interruption import EXIT_CODE

__all__ = [
  "differences",
  "from_primary",
  "is_primary",
  "joined",
  "leave",
  "require_agreement",
  "require_joined",
  "watched",
]


# What errors say that come of a process that stopped or cannot be reached.
_LOST = (
  *("Gloo", "NCCL", "onnection closed", "onnection reset", "onnection refused"),
  *("Broken pipe", "UNAVAILABLE", "DEADLINE_EXCEEDED", "heartbeat", "ABORTED"),
)

_ABSENT = "(absent)"


def is_primary() -> bool:
  """Whether this process is the one that moves and removes directories."""
  return jax.process_index() == 0


def from_primary(compute: Callable[[], Any]) -> Any:
  """What `compute` returns in the first process, in every process.

  Processes that looked for themselves could see a directory at two moments.

  Args:
    compute: called by the first process alone; returns what JSON can hold.

  >>> from_primary(lambda: {"steps": [3, 5]})
  {'steps': [3, 5]}
  """
  if jax.process_count() == 1:
    return compute()
  text = json.dumps(compute()).encode() if is_primary() else b""
  size = int(multihost_utils.broadcast_one_to_all(np.int32(len(text))))
  padded = np.frombuffer(text.ljust(size), np.uint8)
  return json.loads(bytes(multihost_utils.broadcast_one_to_all(padded)))


def require_agreement(what: str, values: Mapping[str, Any]) -> None:
  """Makes sure that every process has the same values; to be called by all.

  Args:
    what: names the values in the error.
    values: nested, of what JSON can hold.

  Raises:
    ValueError: in every process, naming the values that differ.

  >>> require_agreement("config", {"seed": 0})  # one process agrees with itself
  """
  if jax.process_count() == 1:
    return

  texts = _of_every_process(json.dumps(values, sort_keys=True))
  for index, text in enumerate(texts):
    if text != texts[0]:
      differ = differences(
        json.loads(texts[0]),
        json.loads(text),
        "in process 0",
        f"in process {index}",
      )
      raise ValueError(
        f"{what}: the processes of this run disagree: {', '.join(differ)}."
        " Start all of them with the same flags"
      )


def require_joined(config: ProcessesConfig) -> None:
  """Makes sure that a program which is one of several has joined the others.

  Args:
    config: flags, as for `joined`.

  Raises:
    ValueError: it has not, and would train as if it were alone.

  >>> from attnjax.training.cluster import ProcessesConfig
  >>> require_joined(ProcessesConfig())
  """
  if jax.distributed.is_initialized():
    return
  arguments = start_arguments(config, os.environ)
  if arguments is not None:
    raise ValueError(
      f"processes: {arguments['num_processes'] or 'several'} of them are"
      " announced, and this one has not joined the others; train inside `with"
      " joined(...)`, or give processes.launcher=none to train alone"
    )


@contextlib.contextmanager
def joined(config: ProcessesConfig) -> Iterator[None]:
  """Joins the processes of a run, as long as the context is open.

  Only the first process prints to standard output. Where one leaves with an
  error it leaves at once, so that the others notice and do not wait for it.

  Args:
    config: flags; `start_arguments` says what else decides.

  Raises:
    ValueError: as `start_arguments`.

  >>> import jax
  >>> from attnjax.training.cluster import ProcessesConfig
  >>> with joined(ProcessesConfig()):
  ...   jax.process_count()
  1
  """
  arguments = start_arguments(config, os.environ)
  if arguments is None or jax.distributed.is_initialized():
    yield
    return

  _say_whom_it_waits_for(arguments)
  jax.distributed.initialize(**arguments)

  try:
    with _one_voice(), watched():
      yield
  except SystemExit as error:
    if error.code not in (None, 0, EXIT_CODE):
      leave(error.code if isinstance(error.code, int) else 1)
    jax.distributed.shutdown()
    raise
  except BaseException:
    traceback.print_exc()
    leave(1)

  jax.distributed.shutdown()


@contextlib.contextmanager
def watched() -> Iterator[None]:
  """Ends this process, and says why, where it finds another one lost.

  Left to itself it would wait at its end for the one that cannot come. Where
  a process hangs and its connections stay, nothing is raised here: then JAX
  aborts this one after `lost_seconds` without a sign of life.
  """
  try:
    yield
  except Exception as error:
    lost = _of_a_lost_process(error)
    if jax.process_count() == 1 or lost is None:
      raise

    print(
      f"process {jax.process_index()} of {jax.process_count()}: another process"
      " of this run stopped or cannot be reached, so this one stops too; the"
      " same command goes on from the newest whole checkpoint"
      f" ({str(lost).splitlines()[0][:200]})",
      file=sys.stderr,
    )
    leave(EXIT_CODE)


def _of_a_lost_process(error: BaseException | None) -> BaseException | None:
  """The error of JAX that another came of, if it tells of a lost process."""
  while error is not None:
    words = isinstance(error, jax.errors.JaxRuntimeError) and str(error)
    if words and any(word in words for word in _LOST):
      return error
    error = error.__cause__  # Orbax raises a TimeoutError from it
  return None


def leave(code: int) -> NoReturn:
  """Ends this process without waiting for any other.

  Args:
    code: of the exit.
  """
  sys.stdout.flush()
  sys.stderr.flush()
  if is_primary():
    # Its end aborts the others, which may be about to say what is wrong.
    time.sleep(2)
  os._exit(code)


def _of_every_process(text: str) -> list[str]:
  """The text of each process, in their order."""
  data = text.encode()
  sizes = multihost_utils.process_allgather(np.int32(len(data)))
  padded = np.frombuffer(data.ljust(int(sizes.max())), np.uint8)
  return [
    bytes(row[:size]).decode()
    for row, size in zip(
      multihost_utils.process_allgather(padded), sizes, strict=True
    )
  ]


def _say_whom_it_waits_for(arguments: Mapping[str, Any]) -> None:
  """One line before a wait that may end with an abort of JAX."""
  index, count = arguments["process_id"], arguments["num_processes"]
  print(
    f"process {'?' if index is None else index} of {count or '?'}: joining the"
    f" others at {arguments['coordinator_address'] or 'the first host'}, for"
    f" {arguments['initialization_timeout']} seconds at most",
    file=sys.stderr,
    flush=True,
  )


@contextlib.contextmanager
def _one_voice() -> Iterator[None]:
  """Silences standard output in all processes but the first."""
  if is_primary():
    yield
    return
  with (
    open(os.devnull, "w", encoding="utf-8") as nowhere,
    contextlib.redirect_stdout(nowhere),
  ):
    yield


def differences(
  before: Any, now: Any, there: str = "there", here: str = "here"
) -> list[str]:
  """One clause for each leaf that two nested dicts do not have alike.

  Args:
    before: a nested dict of what JSON can hold.
    now: another one.
    there: where the first is from.
    here: where the second is from.

  >>> differences({"model": {"depth": 2}}, {"model": {"depth": 3}})
  ['model.depth is 2 there and 3 here']
  """
  first, second = _leaves(before), _leaves(now)
  return [
    f"{name} is {first.get(name, _ABSENT)} {there} and"
    f" {second.get(name, _ABSENT)} {here}"
    for name in sorted(first.keys() | second.keys(), key=_experiment_first)
    if first.get(name) != second.get(name)
  ]


def _leaves(tree: Any, name: str = "") -> dict[str, str]:
  """Each leaf under its dotted name, as JSON text: NaN equals NaN there."""
  if not isinstance(tree, dict) or not tree:
    return {name: json.dumps(tree)}
  return {
    dotted: text
    for key, child in tree.items()
    for dotted, text in _leaves(child, f"{name}.{key}" if name else key).items()
  }


def _experiment_first(name: str) -> tuple[bool, str]:
  """Sorts the name of the experiment before the leaves of its config."""
  return name != "experiment", name
