"""Command line shared by all launchers: flags, parsing into a `Job`, errors."""

import contextlib
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from absl import flags

from launch.job import Job

__all__ = ["define", "job_of", "queue", "run", "show"]

# absl's two spellings: --config.x=1, and --noconfig.x for false.
_PREFIXES = ("config.", "noconfig.")


def run(
  program: Callable[[Job, flags.FlagValues], int],
  define_own: Callable[[flags.FlagValues], None] | None = None,
  argv: Sequence[str] | None = None,
) -> None:
  """Reads a command line, calls the program and ends the process.

  Args:
    program: takes the job and the flags; returns the exit code.
    define_own: defines what flags the launcher has beside those of the job.
    argv: the command line, program name first; None means `sys.argv`.
  """
  # Not absl's global FLAGS, which hold those of every imported module.
  values = flags.FlagValues()
  define(values)
  if define_own is not None:
    define_own(values)
  with _readable_errors():
    job = job_of(values, sys.argv if argv is None else argv)
    sys.exit(program(job, values))


def define(values: flags.FlagValues) -> None:
  """Defines the flags that describe a job, and `--submit`."""
  text: dict[str, Any] = {"flag_values": values}

  # What runs, and on what.
  flags.DEFINE_string("experiment", "", "folder of experiments/", **text)
  flags.DEFINE_string("preset", "tiny", "its config to start from", **text)
  flags.DEFINE_string(
    "topology", None, "v5e:4x4, h100:16, cpu:8: how much of what", **text
  )
  flags.DEFINE_integer(
    "processes", None, "of JAX; none: as the topology takes them", **text
  )

  # Where its files go, and under which name.
  flags.DEFINE_string(
    "workdir", "", "directory or gs://bucket/folder to write to", **text
  )
  flags.DEFINE_string(
    "name", "", "it is queued under; none: made of what runs where", **text
  )
  flags.DEFINE_boolean(
    "submit", False, "queue it; else only show what would be queued", **text
  )
  # absl defines --help for its global FLAGS alone.
  flags.DEFINE_boolean("help", False, "show this", **text)


def job_of(values: flags.FlagValues, argv: Sequence[str]) -> Job:
  """Parses a command line into a job; `--config.*` become its overrides.

  Args:
    values: flags, defined.
    argv: the command line, program name first.

  Raises:
    ValueError: a flag that does not exist, or an argument that is no flag.

  >>> from absl import flags
  >>> values = flags.FlagValues()
  >>> define(values)
  >>> job_of(values, ["x", "--experiment=heads", "--noconfig.a.b"]).overrides
  ('a.b=false',)
  """
  try:
    # A --flagfile may hold flags of both kinds.
    argv = [*argv[:1], *values.read_flags_from_files(argv[1:], force_gnu=False)]
    rest = values([text for text in argv if not _is_override(text)])[1:]
  except flags.Error as error:
    raise ValueError(str(error)) from None

  if values.help:
    print(values.get_help(include_special_flags=False))
    sys.exit(0)

  if rest:
    raise ValueError(
      f"unexpected argument {rest[0]!r}: a flag is written --name=value"
    )

  return Job(
    values.experiment,
    values.preset,
    tuple(_override(text) for text in argv if _is_override(text)),
    values.topology,
    values.processes,
    values.workdir,
    values.name,
  )


def show(text: str) -> int:
  """Prints the file that would be queued; returns exit code 0."""
  # The text alone on stdout, so that it can be redirected to a file.
  print(text, end="")
  print("(nothing is queued: --submit does)", file=sys.stderr)
  return 0


def queue(path: Path, text: str, *command: str) -> int:
  """Writes a file and runs the command that queues it; returns its exit code.

  Args:
    path: of the file; it stays, to be read.
    text: its content.
    *command: the program and its arguments.

  Raises:
    ValueError: the program is not installed.
  """
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(text, encoding="utf-8")
  print(f"+ {shlex.join(command)}", file=sys.stderr, flush=True)
  try:
    return subprocess.run(command, check=False).returncode
  except FileNotFoundError:
    raise ValueError(
      f"{command[0]!r} is not installed here; run {shlex.join(command)} where"
      " it is"
    ) from None


def _is_override(text: str) -> bool:
  """Whether an argument is a `--config.*` flag of the experiment."""
  return text.startswith("-") and text.lstrip("-").startswith(_PREFIXES)


def _override(text: str) -> str:
  """Parses a `--config.*` flag into an override, such as `model.depth=12`."""
  name, separator, value = text.lstrip("-").partition("=")
  if name.startswith("no"):
    if separator:
      raise ValueError(
        f"--{name}: expected no value, for the flag says false already, got"
        f" {value!r}; write --{name.removeprefix('no')}={value}"
      )
    return f"{name.removeprefix('noconfig.')}=false"
  return name.removeprefix("config.") + (f"={value}" if separator else "=true")


@contextlib.contextmanager
def _readable_errors() -> Iterator[None]:
  """Prints an error caused by the user as one line; exits with code 1."""
  try:
    yield
  except (ValueError, ImportError, OSError) as error:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(1)
