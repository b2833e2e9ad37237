"""Environment variables of processes: the launcher's, merged with the user's.

`XLA_FLAGS` holds many flags: those of the launcher are appended to those of the
user. XLA takes the last value of a flag that is given twice.
"""

import shlex
from collections.abc import Mapping

__all__ = ["export_lines", "merge_environment", "mpirun_environment"]

_ADDED_TO = "XLA_FLAGS"


def merge_environment(
  inherited: Mapping[str, str], own: Mapping[str, str]
) -> dict[str, str]:
  """The environment of a process that is started on this machine.

  Args:
    inherited: `os.environ`.
    own: what the launcher sets.

  >>> user = {"HOME": "/me", "XLA_FLAGS": "--a=1"}
  >>> merge_environment(user, {"XLA_FLAGS": "--b=2"})
  {'HOME': '/me', 'XLA_FLAGS': '--a=1 --b=2'}
  """
  found = {**inherited, **own}
  if _ADDED_TO in own and inherited.get(_ADDED_TO, "").strip():
    found[_ADDED_TO] = f"{inherited[_ADDED_TO]} {own[_ADDED_TO]}"
  return found


def export_lines(own: Mapping[str, str]) -> str:
  """Shell lines that set the variables, merged when the script runs.

  Args:
    own: what the launcher sets.

  >>> print(export_lines({"XLA_FLAGS": "--b=2"}), end="")
  export XLA_FLAGS="${XLA_FLAGS-} "--b=2
  """
  return "".join(
    # `${NAME-}`: the script may run under `set -u`, where an unset variable is
    # an error.
    f"export {name}="
    + (f'"${{{name}-}} "' if name == _ADDED_TO else "")
    + f"{shlex.quote(value)}\n"
    for name, value in own.items()
  )


def mpirun_environment(
  inherited: Mapping[str, str], own: Mapping[str, str]
) -> dict[str, str]:
  """Variables to give to mpirun, which forwards none to other hosts by itself.

  Args:
    inherited: `os.environ`.
    own: what the launcher sets.

  >>> user = {"HOME": "/me", "XLA_FLAGS": "--a=1"}
  >>> mpirun_environment(user, {"JAX_PLATFORMS": "cpu"})
  {'XLA_FLAGS': '--a=1', 'JAX_PLATFORMS': 'cpu'}
  """
  # With -x mpirun takes the one value that it is given: it has to hold the
  # user's flags as well.
  users = {n: v for n, v in inherited.items() if n == _ADDED_TO and v.strip()}
  return merge_environment(users, own)
