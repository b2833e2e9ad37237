"""Quoting of commands and options for Kubernetes, xpk and sbatch.

The command of a job is quoted for a shell once (`shlex.join`). Kubernetes, xpk
and sbatch read the text before that shell; their escapes are added here.
"""

import re
import shlex
from collections.abc import Iterable, Sequence

from launch.names import check_plain

__all__ = ["for_kubernetes", "for_xpk", "sbatch_line", "sbatch_option"]

# A long option ends at =, a space or the end; a short one is a single letter,
# and its value may follow at once.
_OPTION = re.compile(
  r"(?P<name>--[a-z][a-z0-9-]*(?==|\s|$)|-[A-Za-z])(?P<how>=|\s+|)(?P<value>.*)"
)


def for_kubernetes(words: Iterable[str]) -> list[str]:
  """Escapes `$` in the words of a command for Kubernetes.

  Kubernetes puts the value of a variable in the place of `$(NAME)`, and one
  `$` for two, in command, args and env.

  Args:
    words: of the command.

  >>> for_kubernetes(["--config.sample.prompt=costs $(HOME) or $$"])
  ['--config.sample.prompt=costs $$(HOME) or $$$$']
  """
  return [word.replace("$", "$$") for word in words]


def for_xpk(words: Sequence[str]) -> str:
  r"""Quotes a command for `xpk --command`: a shell line inside YAML.

  Args:
    words: of the command.

  Raises:
    ValueError: a word has the end of a line in it, which would end the YAML.

  >>> for_xpk(["echo", "a $(b)"])
  "echo 'a $$(b)'"
  """
  for word in words:
    try:
      check_plain("xpk", word)
    except ValueError as error:
      raise ValueError(
        f"{error}, or queue the job without --xpk: a manifest holds it"
      ) from None
  return shlex.join(for_kubernetes(words))


def sbatch_option(text: str) -> tuple[str, str, str]:
  r"""Parses an option of sbatch into (name, separator, value).

  Args:
    text: `--name`, `--name=value`, `--name value`, `-n value` or `-nvalue`.

  Raises:
    ValueError: it is no option, more than one, or not one line.

  >>> sbatch_option("--comment=two words")
  ('--comment', '=', 'two words')
  >>> sbatch_option("-p gpu")
  ('-p', ' ', 'gpu')
  """
  check_plain("sbatch", text)
  found = _OPTION.fullmatch(text.strip())
  if found is None:
    raise ValueError(
      "sbatch: expected an option such as --partition=gpu or -p gpu, got"
      f" {text!r}; write --sbatch=--partition=gpu"
    )

  # Runs of spaces mean one; no separator is that of `-nvalue`.
  name, how, value = found.group("name", "how", "value")
  how = how.strip() or how[:1]
  if how == " " and re.search(r"\s-", f" {value}"):
    raise ValueError(
      f"sbatch: expected one option, got {text!r}; give --sbatch once for each,"
      " or write name=value where a value begins with a hyphen"
    )
  if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
    raise ValueError(
      f"sbatch: expected a value without quotes round it, got {text!r}; it is"
      f" taken to the letter: {name}={value[1:-1]}"
    )

  return name, how, value


def sbatch_line(text: str) -> str:
  r"""The `#SBATCH` line of an option.

  In such a line sbatch ends a word at a space and a line at `#`, and takes
  quotes and backslashes for its own.

  Args:
    text: as for `sbatch_option`.

  >>> print(sbatch_line('--comment=for "us" #1'))
  #SBATCH --comment="for \"us\" #1"
  """
  name, how, value = sbatch_option(text)
  # Quoted only where it must be, for people read the script.
  if re.search(r"[^A-Za-z0-9_.,:/@%+=\[\]-]", value):
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    value = f'"{escaped}"'
  return f"#SBATCH {name}{how}{value}"
