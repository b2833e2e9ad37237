"""Coordination of the processes of a run: join, broadcast, agree, exit.

Added to `jax.distributed`: a check that all processes were started with the
same config, and an exit without delay where one of them is lost.
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

from attnjax.moved import forward_names
from attnjax.training.cluster import ProcessesConfig, start_arguments
from attnjax.training.interruption import EXIT_CODE

__all__ = [
  "differences",
  "exit_when_peer_lost",
  "from_primary",
  "is_primary",
  "joined",
  "leave",
  "require_agreement",
  "require_joined",
]


# Parts of the messages of JAX's errors after another process was lost. Without
# their first letters, which are capitals in some of them.
_LOST = (
  *("Gloo", "NCCL", "onnection closed", "onnection reset", "onnection refused"),
  *("Broken pipe", "UNAVAILABLE", "DEADLINE_EXCEEDED", "heartbeat", "ABORTED"),
)

_ABSENT = "(absent)"


def is_primary() -> bool:
  """Whether this is process 0, which alone moves and removes directories."""
  return jax.process_index() == 0


def from_primary(compute: Callable[[], Any]) -> Any:
  """Broadcasts what `compute` returns in process 0 to every process.

  For what depends on the file system: processes that look for themselves may
  see a directory at different moments.

  Args:
    compute: called by the first process alone; returns what JSON can hold.

  >>> from_primary(lambda: {"steps": [3, 5]})
  {'steps': [3, 5]}
  """
  if jax.process_count() == 1:
    return compute()
  text = json.dumps(compute()).encode() if is_primary() else b""
  # The length first: every process has to pass an array of that shape.
  size = int(multihost_utils.broadcast_one_to_all(np.int32(len(text))))
  padded = np.frombuffer(text.ljust(size), np.uint8)
  return json.loads(bytes(multihost_utils.broadcast_one_to_all(padded)))


def require_agreement(what: str, values: Mapping[str, Any]) -> None:
  """Refuses values that differ between processes; to be called by all.

  Args:
    what: names the values in the error.
    values: nested, of what JSON can hold.

  Raises:
    ValueError: in every process, naming the values that differ.

  >>> require_agreement("config", {"seed": 0})  # one process agrees with itself
  """
  if jax.process_count() == 1:
    return

  texts = _gather_texts(json.dumps(values, sort_keys=True))
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
  """Refuses to go on in a process that is one of several and has not joined.

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
  """Context of a run of several processes: `jax.distributed`, joined.

  Only process 0 prints to standard output. A process that fails exits at once,
  so that the others notice and do not wait for it.

  Args:
    config: flags; see `start_arguments` for the environment.

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

  _announce_joining(arguments)
  jax.distributed.initialize(**arguments)

  try:
    with _only_primary_prints(), exit_when_peer_lost():
      yield
  except SystemExit as error:
    # With these codes all processes stop, and may wait for one another.
    if error.code not in (None, 0, EXIT_CODE):
      leave(error.code if isinstance(error.code, int) else 1)
    jax.distributed.shutdown()
    raise
  except BaseException:
    # Printed here, for `os._exit` skips the handler of Python.
    traceback.print_exc()
    leave(1)

  jax.distributed.shutdown()


@contextlib.contextmanager
def exit_when_peer_lost() -> Iterator[None]:
  """Exits with code 75 where an error shows that another process is lost.

  A normal exit would wait for the lost process. Where a process hangs with its
  connections open nothing is raised here: then JAX aborts this one after
  `lost_seconds` without a heartbeat.
  """
  try:
    yield
  except Exception as error:
    lost = _lost_process_error(error)
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


def _lost_process_error(error: BaseException | None) -> BaseException | None:
  """The JAX error in a chain of causes that tells of a lost process."""
  while error is not None:
    words = isinstance(error, jax.errors.JaxRuntimeError) and str(error)
    if words and any(word in words for word in _LOST):
      return error
    error = error.__cause__  # Orbax raises a TimeoutError from it
  return None


def leave(code: int) -> NoReturn:
  """Exits this process without waiting for any other.

  Args:
    code: of the exit.
  """
  sys.stdout.flush()
  sys.stderr.flush()
  if is_primary():
    # The exit of process 0 aborts the others, which may still be printing.
    time.sleep(2)
  os._exit(code)


def _gather_texts(text: str) -> list[str]:
  """All-gather of one string a process, in the order of processes."""
  data = text.encode()
  sizes = multihost_utils.process_allgather(np.int32(len(data)))
  # Arrays of one shape are gathered: shorter texts are padded.
  padded = np.frombuffer(data.ljust(int(sizes.max())), np.uint8)
  return [
    bytes(row[:size]).decode()
    for row, size in zip(
      multihost_utils.process_allgather(padded), sizes, strict=True
    )
  ]


def _announce_joining(arguments: Mapping[str, Any]) -> None:
  """Prints the address to join: JAX may end the wait by aborting."""
  index, count = arguments["process_id"], arguments["num_processes"]
  print(
    f"process {'?' if index is None else index} of {count or '?'}: joining the"
    f" others at {arguments['coordinator_address'] or 'the first host'}, for"
    f" {arguments['initialization_timeout']} seconds at most",
    file=sys.stderr,
    flush=True,
  )


@contextlib.contextmanager
def _only_primary_prints() -> Iterator[None]:
  """Discards standard output in all processes but process 0."""
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
  """The leaves in which two nested dicts differ, one clause each.

  Args:
    before: a nested dict of what JSON can hold.
    now: another one.
    there: origin of the first, for the clauses.
    here: origin of the second.

  >>> differences({"model": {"depth": 2}}, {"model": {"depth": 3}})
  ['model.depth is 2 there and 3 here']
  """
  first, second = _leaves(before), _leaves(now)
  return [
    f"{name} is {first.get(name, _ABSENT)} {there} and"
    f" {second.get(name, _ABSENT)} {here}"
    # The name of the experiment before the leaves of its config.
    for name in sorted(
      first.keys() | second.keys(),
      key=lambda name: (name != "experiment", name),
    )
    if first.get(name) != second.get(name)
  ]


def _leaves(tree: Any, name: str = "") -> dict[str, str]:
  """Dotted name -> leaf as JSON text, in which NaN equals NaN."""
  if not isinstance(tree, dict) or not tree:
    return {name: json.dumps(tree)}
  return {
    dotted: text
    for key, child in tree.items()
    for dotted, text in _leaves(child, f"{name}.{key}" if name else key).items()
  }


# Names of earlier versions, with a `DeprecationWarning`.
__getattr__ = forward_names(__name__)
