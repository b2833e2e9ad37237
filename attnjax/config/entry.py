"""The entry point of an experiment, with errors made readable."""

import contextlib
import dataclasses
import errno
import io
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from absl import app, flags, logging

from attnjax.config.flags import ConfigFlags, define_flags
from attnjax.config.paths import check_local
from attnjax.config.streams import Unread
from attnjax.config.text import describe

__all__ = [
  "run",
]


flags.disclaim_key_flags()  # see attnjax.config.flags

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_USER_ERRORS = (
  ValueError,
  OSError,
  ImportError,
  FloatingPointError,
  NotImplementedError,
)


def run(
  main: Callable[[Any, Path], None],
  presets: Mapping[str, Callable[[], Any]],
  *,
  experiment: str,
  default: str = "tiny",
  around: Callable[[Any], AbstractContextManager[Any]] = nullcontext,
) -> None:
  """Runs an experiment: reads the flags, prints the config, calls `main`.

  It ends the process: code 0 when `main` returns, 1 after an error or what the
  error's `exit_code` says, 130 after Ctrl-C. An error that is the user's is one
  line on stderr, with no traceback unless `--debug` is given.

  Args:
    main: takes the config and the directory to write to, an absolute path that
      need not exist yet.
    presets: name -> a function of nothing that makes the config.
    experiment: name of the experiment, for `--workdir`, which defaults to
      `runs/<experiment>/<preset>`.
    default: the preset where the command line names none.
    around: takes the config; `main` runs, and its errors are told, inside the
      context that it returns.

  >>> run(print, {"base": dict}, experiment="demo")
  Traceback (most recent call last):
  ValueError: default='tiny' is not a preset; there are base
  """
  handle = define_flags(presets, default=default)
  folder = f"runs/{experiment}/<preset>"
  flags.DEFINE_string("workdir", folder, "directory to write to")
  flags.DEFINE_boolean("debug", False, "show the traceback of an error")
  app.run(_Program(main, handle, around))


@dataclasses.dataclass(frozen=True)
class _Program:
  """The function that `app.run` calls once the flags are parsed."""

  main: Callable[[Any, Path], None]
  handle: ConfigFlags
  around: Callable[[Any], AbstractContextManager[Any]]

  def __call__(self, argv: Sequence[str]) -> None:
    """Resolves the config and runs `main`, with errors made readable."""
    if not flags.FLAGS["verbosity"].present:
      # absl's default shows the info logs of libraries; --verbosity=0 does too.
      logging.set_verbosity(logging.WARNING)

    for stream in (sys.stdout, sys.stderr):
      # A terminal without UTF-8 shows text as far as it can.
      if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="replace")

    debug = flags.FLAGS.debug
    with _streams_without_reader(), _readable_errors(debug=debug):
      if len(argv) > 1:
        raise ValueError(
          f"unexpected argument {argv[1]!r}: a flag is written --name=value"
        )

      config = self.handle.resolve()
      # Errors are printed inside `around` as well, for its exit may end the
      # process before the outer handler prints.
      with self.around(config), _readable_errors(debug=debug):
        print(f"preset = {flags.FLAGS.preset}")
        print(describe(config, baseline=self.handle.preset()), flush=True)
        self.main(config, _workdir(flags.FLAGS.workdir, flags.FLAGS.preset))


def _workdir(text: str, preset: str) -> Path:
  """An absolute path, for Orbax refuses a relative one."""
  check_local(text, "--workdir")
  try:
    return Path(text.replace("<preset>", preset)).expanduser().resolve()
  except RuntimeError as error:  # ~nobody/runs
    raise ValueError(f"--workdir={text}: {error}") from None


@contextlib.contextmanager
def _streams_without_reader() -> Iterator[None]:
  """Lets a run continue whose reader leaves, as in `2>&1 | head`."""
  out, err = Unread(sys.stdout), Unread(sys.stderr)
  with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
    try:
      yield
    finally:
      # Inside: what is buffered may be the first write that finds no reader.
      out.flush()
      err.flush()


@contextlib.contextmanager
def _readable_errors(*, debug: bool) -> Iterator[None]:
  """Ends the process with one line where the error is one of the user."""
  try:
    yield
  except KeyboardInterrupt:
    print("interrupted", file=sys.stderr)
    sys.exit(130)
  except Exception as error:
    if debug or not _is_users(error):
      raise
    print(f"error: {_message(error)}", file=sys.stderr)
    print("(--debug shows where)", file=sys.stderr)
    sys.exit(getattr(error, "exit_code", 1))


def _is_users(error: BaseException) -> bool:
  """Whether a change of the command line or of a file mends the error."""
  if isinstance(error, BaseExceptionGroup):
    return all(_is_users(part) for part in error.exceptions)
  return isinstance(error, _USER_ERRORS)


def _message(error: BaseException) -> str:
  """Message, notes and nested errors, each on lines of its own."""
  if isinstance(error, BaseExceptionGroup):
    parts = [
      _message(part).replace("\n", "\n    ") for part in error.exceptions
    ]
    return "\n".join([error.message, *(f"  - {part}" for part in parts)])

  text = str(error) or type(error).__name__
  if isinstance(error, OSError) and error.errno in _FULL:
    text += (
      "; free some space where --workdir is, or name one on another disk"
      if "--workdir" not in text
      else ""
    )

  notes = [
    note
    for note in getattr(error, "__notes__", ())
    # JAX tells how it shortened a traceback, which is not shown here.
    if "JAX has removed its internal frames" not in note
  ]

  return "\n".join([text, *notes])
