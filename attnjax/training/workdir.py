"""The directory of a run: it belongs to one experiment with one config."""

import json
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attnjax.config import check_local

__all__ = ["claim", "differences", "write_durably"]

_CONFIG = "config.json"
_ABSENT = "(absent)"


def claim(
  workdir: str | Path, experiment: str, config: Mapping[str, Any]
) -> Path:
  """Makes a directory that of a run, or makes sure that it already is.

  The first time `config.json` is written, atomically. Later its content has
  to be the same, so that no run goes on from another one's checkpoints.

  Args:
    workdir: made if need be; relative to the working directory.
    experiment: name of the experiment.
    config: its resolved config, a nested dict of what JSON can hold.

  Returns:
    The absolute path.

  Raises:
    ValueError: it is the address of a bucket, belongs to another run (names
      each leaf that differs), its `config.json` cannot be read, or it cannot
      be written.

  >>> import tempfile
  >>> path = claim(tempfile.mkdtemp(), "copy", {"model": {"depth": 2}})
  >>> claim(path, "copy", {"model": {"depth": 2}}) == path
  True
  >>> claim(path, "copy", {"model": {"depth": 3}})
  Traceback (most recent call last):
  ValueError: workdir: ... belongs to another run: config.model.depth is 2
  there and 3 here. Name another --workdir, or the same config
  """
  check_local(workdir, "workdir")
  path = Path(workdir).resolve()
  asked = _normal({"experiment": experiment, "config": config})
  try:
    path.mkdir(parents=True, exist_ok=True)
    if not (path / _CONFIG).exists():
      _refuse_orphans(path)
      _write(path / _CONFIG, asked)
      return path
    text = (path / _CONFIG).read_bytes()
  except OSError as error:
    raise ValueError(
      f"workdir: {error.filename or path} cannot be used ({error.strerror}); "
      "name a --workdir that can be written"
    ) from error
  _compare(path, _parse(path, text), asked)
  return path


def _parse(path: Path, text: bytes) -> dict[str, Any]:
  """What config.json says, or an error that tells why it says nothing."""
  try:
    stored = json.loads(text)
    if stored.keys() == {"experiment", "config"}:
      return stored
    why = "its keys are not experiment and config"
  except (ValueError, AttributeError) as error:
    why = str(error)
  raise ValueError(
    f"workdir: {path / _CONFIG} is not what a run wrote ({why}); put it back, "
    "or name another --workdir"
  )


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


def _compare(path: Path, stored: Any, asked: Any) -> None:
  """Raises where the stored config is not the one asked for."""
  differ = differences(stored, asked)
  if differ:
    raise ValueError(
      f"workdir: {path} belongs to another run: {', '.join(differ)}. Name "
      "another --workdir, or the same config"
    )


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


def _normal(config: Mapping[str, Any]) -> Any:
  """The config as it comes back from JSON: a tuple is a list there."""
  try:
    return json.loads(json.dumps(config))
  except (TypeError, ValueError) as error:
    raise ValueError(
      f"config: expected a nested dict of what JSON can hold: {error}"
    ) from error


def _refuse_orphans(path: Path) -> None:
  """Raises where there are checkpoints that no config tells anything about."""
  for pattern in ("*/digests.json", "*/*/digests.json"):
    for found in sorted(path.glob(pattern)):
      raise ValueError(
        f"workdir: {path} has no {_CONFIG} but a checkpoint, {found.parent}: "
        f"nobody can tell whose. Put its {_CONFIG} back, or name another "
        "--workdir"
      )


def _write(path: Path, content: Any) -> None:
  """Writes JSON so that the file is whole or not there."""
  # Several processes of one run, on several hosts, may come here at once.
  temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
  try:
    write_durably(temporary, "w", json.dumps(content, indent=2) + "\n")
    os.replace(temporary, path)
  finally:
    temporary.unlink(missing_ok=True)


def write_durably(path: Path, mode: str, text: str) -> None:
  """Writes or appends text, and waits until the disk has it."""
  with path.open(mode, encoding="utf-8") as file:
    file.write(text)
    file.flush()
    os.fsync(file.fileno())
