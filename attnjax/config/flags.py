"""Defines one absl flag for each leaf of a config.

`--preset=base` picks a config, `--config.model.depth=12` and
`--noconfig.model.tied` override a leaf, `--flagfile=lines.txt` reads flags from
a file, `--helpfull` lists every leaf with the preset's own defaults.
"""

import contextlib
import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from absl import flags

from attnjax.config.leaves import Leaf, did_you_mean, leaves, replace_leaves

__all__ = [
  "ConfigFlags",
  "define_flags",
]


# A flag defined here belongs to the program that asked for it, so that
# `--help` of that program lists it.
flags.disclaim_key_flags()


class _PresetParser(flags.ArgumentParser):
  """Parser of `--preset`: accepts the names of presets."""

  def __init__(self, presets: Mapping[str, Any]):
    self.presets = presets
    self.syntactic_help = f"<{'|'.join(presets)}>"

  def parse(self, argument: str) -> str:
    """The name itself, or an error that lists the presets."""
    if argument not in self.presets:
      close = did_you_mean(argument, self.presets)
      listed = ", ".join(self.presets)
      raise ValueError(f"the presets are {listed}.{close}")
    return argument


class _LeafParser(flags.ArgumentParser):
  """Parser of the flag of one leaf."""

  def __init__(self, leaf: Leaf):
    self.leaf = leaf
    noun = {int: "an integer", float: "a number", bool: "a boolean"}
    text = noun.get(leaf.item or leaf.kind, "a string")

    if leaf.item is not None:
      text = f"commas between: {text}"

    if str(leaf.range):
      text += f" {leaf.range}"

    if leaf.choices is not None:
      text = f"<{'|'.join(map(str, leaf.choices))}>"

    self.syntactic_help = text + (" or none" if leaf.optional else "")

  def parse(self, argument: Any) -> Any:
    """The value of a text, checked by the leaf."""
    if isinstance(argument, str) and self.leaf.kind is not str:
      argument = self._read(argument)
    # Of a str leaf too: the text "none" cannot be a value then.
    elif self.leaf.optional and argument == "none":
      return None
    return self.leaf.checked(argument)

  def _read(self, text: str) -> Any:
    """An int, a float, a bool or a tuple from its text."""
    if self.leaf.optional and text.lower() == "none":
      return None
    if self.leaf.kind is bool:
      return flags.BooleanParser().parse(text)

    try:
      if self.leaf.item is not None:
        return tuple(map(self.leaf.item, text.split(",") if text else ()))
      return self.leaf.kind(text)
    except ValueError as error:
      raise ValueError(f"expected {self.syntactic_help}") from error


class _LeafSerializer(flags.ArgumentSerializer):
  """Inverse of `_LeafParser`."""

  def serialize(self, value: Any) -> str:
    """Commas between the items of a tuple."""
    return ",".join(map(str, value)) if type(value) is tuple else str(value)


@dataclasses.dataclass(frozen=True)
class ConfigFlags:
  """The flags that were defined for a config.

  Args:
    presets: name -> the function that makes that preset.
    prefix: what comes before the dotted name of a leaf in its flag.
    flag_values: where the flags are registered.

  >>> import dataclasses
  >>> from absl import flags
  >>> from attnjax.config import setting
  >>> @dataclasses.dataclass(frozen=True)
  ... class Config:
  ...   depth: int = setting(4, "blocks")
  >>> argv, values = ["prog", "--config.depth=7"], flags.FlagValues()
  >>> given = define_flags(
  ...   {"tiny": Config}, default="tiny", flag_values=values, argv=argv
  ... )
  >>> _ = values(argv)
  >>> given.preset(), given.resolve()
  (Config(depth=4), Config(depth=7))
  """

  presets: Mapping[str, Callable[[], Any]]
  prefix: str
  flag_values: flags.FlagValues

  def preset(self) -> Any:
    """The config of the chosen preset, before any override."""
    return self.presets[self.flag_values.preset]()

  def resolve(self) -> Any:
    """The preset, with the leaves given on the command line overridden.

    Raises:
      ValueError: a check of the config itself refuses the combination.
    """
    config = self.preset()
    given = {}
    for leaf in leaves(config):
      flag = self.flag_values[f"{self.prefix}.{leaf.name}"]
      if flag.present:
        given[leaf.name] = flag.value
    return replace_leaves(config, given)


def define_flags(
  presets: Mapping[str, Callable[[], Any]],
  *,
  default: str,
  prefix: str = "config",
  flag_values: flags.FlagValues = flags.FLAGS,
  argv: Sequence[str] | None = None,
) -> ConfigFlags:
  """Defines `--preset` and one flag a leaf of the preset's config.

  Args:
    presets: name -> a function of nothing that makes the config.
    default: the preset where the command line names none.
    prefix: what comes before the dotted name of a leaf: `--config.model.depth`.
    flag_values: where to register the flags.
    argv: the command line, program name first; looked at for `--preset` only,
      so that the defaults shown are that preset's. None means `sys.argv`.

  Returns:
    The handle whose `resolve()` gives the config once the flags are parsed.

  Raises:
    ValueError: `default` is not a preset.
    TypeError: a leaf of the config has no help or a type without a flag.

  >>> import dataclasses
  >>> from absl import flags
  >>> from attnjax.config import setting
  >>> @dataclasses.dataclass(frozen=True)
  ... class Config:
  ...   depth: int = setting(4, "blocks")
  >>> argv, values = ["prog", "--config.depth=12"], flags.FlagValues()
  >>> handle = define_flags(
  ...   {"tiny": Config}, default="tiny", flag_values=values, argv=argv
  ... )
  >>> _ = values(argv)
  >>> handle.resolve()
  Config(depth=12)
  """
  if default not in presets:
    raise ValueError(
      f"default={default!r} is not a preset; there are {', '.join(presets)}"
    )
  # The defaults that `--helpfull` shows are those of the chosen preset, which
  # is therefore read before the other flags exist.
  chosen = _preset_of(presets, default, sys.argv if argv is None else argv)
  _define_preset(presets, default, flag_values)
  for leaf in leaves(presets[chosen]()):
    flags.DEFINE_flag(_flag(leaf, f"{prefix}.{leaf.name}"), flag_values)
  return ConfigFlags(presets, prefix, flag_values)


def _define_preset(
  presets: Mapping[str, Any], default: str, flag_values: flags.FlagValues
) -> None:
  """Defines `--preset`, whose value is checked as it is parsed."""
  flags.DEFINE(
    _PresetParser(presets),
    "preset",
    default,
    "the config to start from",
    flag_values,
    flags.ArgumentSerializer(),
  )


def _preset_of(
  presets: Mapping[str, Any], default: str, argv: Sequence[str]
) -> str:
  """The preset that a command line names, before its flags are defined.

  A command line that is wrong gives the default: the real parse says why.
  """
  values = flags.FlagValues()
  _define_preset(presets, default, values)
  with contextlib.suppress(flags.Error):
    values(list(argv), known_only=True)
    return values.preset
  return default


def _flag(leaf: Leaf, name: str) -> flags.Flag:
  """The absl flag of one leaf; a bool has a `--no` form too."""
  flag: flags.Flag = flags.Flag(
    parser=_LeafParser(leaf),
    # absl writes a bool itself: --name or --noname.
    serializer=None if leaf.kind is bool else _LeafSerializer(),
    name=name,
    default=leaf.value,
    help_string=leaf.help,
    boolean=leaf.kind is bool,
  )

  if leaf.value is None:
    flag.default_as_str = "'none'"  # absl would show no default at all

  return flag
